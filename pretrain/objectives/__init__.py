"""Pretraining objectives: small interchangeable losses, each a file."""

from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives.latent import LatentTarget
from bandloom.pretrain.objectives.objective import Decoded, Objective
from bandloom.pretrain.objectives.pixels import NativePixels

__all__ = ["Decoded", "LatentTarget", "NativePixels", "Objective", "make_objective"]


def make_objective(config: ObjectiveConfig, token_m: int, statistics: Statistics) -> Objective:
    """Return the objective that ``config.target`` names."""
    if config.target == "latent":
        return LatentTarget(config, token_m, statistics)
    return NativePixels(config, token_m)
