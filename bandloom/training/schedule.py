"""Learning rate by step (warm-up and cosine), and AdamW's parameter groups with decay by layer."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from bandloom.training.engine import EngineConfig


def learning_rate(config: "EngineConfig", step: int, steps: int) -> float:
    """Return the rate of step ``step`` (0 is the first) of ``steps``: linear warm-up, then half a cosine."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.lr * (config.min_lr_ratio + (1 - config.min_lr_ratio) * cosine)


def warm_cosine(step: int, steps: int, warmup_steps: float, peak: float = 1.0) -> float:
    """Return the rate of a small fit at step ``step`` (0 is the first): a linear rise under half a cosine."""
    return peak * min(1.0, (step + 1) / max(1, warmup_steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], config: "EngineConfig", depth: int = 0
) -> list[dict[str, Any]]:
    """Return AdamW's groups: no decay on vectors, and a learning rate that falls by ``layer_decay`` a block.

    Args:
        named: the parameters that train, by name.
        config: decay and layer decay.
        depth: number of encoder blocks, needed for layer decay.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        decay = config.weight_decay if parameter.ndim > 1 and not name.endswith("embed.absent") else 0.0
        scale = 1.0 if config.layer_decay is None else config.layer_decay ** (depth + 1 - layer_of(name, depth))
        group = groups.setdefault((decay, scale), {"params": [], "weight_decay": decay, "lr_scale": scale})
        group["params"].append(parameter)
    return list(groups.values())


def layer_of(name: str, depth: int) -> int:
    """Return 0 for the embedding, 1.. for the blocks, depth + 1 for what follows (BEiT's layer ids)."""
    if "encoder." in name:
        inner = name.split("encoder.", 1)[1]
        if inner.startswith("embed."):
            return 0
        if inner.startswith("blocks."):
            return int(inner.split(".")[1]) + 1
    return depth + 1
