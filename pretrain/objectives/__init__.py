"""Pretraining objectives: small interchangeable losses, each a file."""

from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives.context import ContextTarget
from bandloom.pretrain.objectives.distil import Distillation
from bandloom.pretrain.objectives.latent import LatentTarget
from bandloom.pretrain.objectives.moving_teacher import MovingTeacher
from bandloom.pretrain.objectives.objective import Decoded, Objective, Prediction
from bandloom.pretrain.objectives.pixels import NativePixels
from bandloom.pretrain.objectives.visual_words import VisualWords

__all__ = [
    "ContextTarget",
    "Decoded",
    "Distillation",
    "LatentTarget",
    "MovingTeacher",
    "NativePixels",
    "Objective",
    "Prediction",
    "VisualWords",
    "make_objective",
]


def make_objective(config: ObjectiveConfig, token_m: int, statistics: Statistics) -> Objective:
    """Return the objective that ``config.kind`` names."""
    if config.kind == "latent":
        return LatentTarget(config, token_m, statistics)
    if config.kind == "distil":
        return Distillation(config, token_m)
    if config.kind == "context":
        return ContextTarget(config, token_m)
    if config.kind == "moving_teacher":
        return MovingTeacher(config, token_m)
    if config.kind == "visual_words":
        return VisualWords(config, token_m)
    return NativePixels(config, token_m)
