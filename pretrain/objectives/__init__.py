"""Pretraining objectives: small interchangeable losses, each a file."""

from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives.distil import Distillation
from bandloom.pretrain.objectives.latent import LatentTarget
from bandloom.pretrain.objectives.objective import Decoded, Objective, Prediction
from bandloom.pretrain.objectives.pixels import NativePixels

__all__ = ["Decoded", "Distillation", "LatentTarget", "NativePixels", "Objective", "Prediction", "make_objective"]


def make_objective(config: ObjectiveConfig, token_m: int, statistics: Statistics) -> Objective:
    """Return the objective that ``config.kind`` names."""
    if config.kind == "latent":
        return LatentTarget(config, token_m, statistics)
    if config.kind == "distil":
        return Distillation(config, token_m)
    return NativePixels(config, token_m)
