"""Losses that stay finite: a batch without a single label costs 0, with a gradient of 0, never NaN."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from bandloom.label_set import IGNORE_INDEX

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross entropy over known labels.

    Args:
        logits: ``(B, K)`` or ``(B, K, H, W)``.
        target: class indices ``(B,)`` or ``(B, H, W)`` of any integer type, 255 unknown.
        weight: ``(K,)`` by class.
        smoothing: share of the truth that is spread over all classes.
    """
    target = target.long()
    known = target != IGNORE_INDEX
    total = functional.cross_entropy(
        logits, target, weight, ignore_index=IGNORE_INDEX, reduction="sum", label_smoothing=smoothing
    )
    count = known.sum() if weight is None else weight[target[known]].sum()
    return total / count.clamp(min=torch.finfo(logits.dtype).tiny if weight is not None else 1)
