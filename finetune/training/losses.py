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


def focal(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the mean focal loss over known labels: cross entropy that forgets what is easy (Lin et al. 2017, eq. 5).

    Args:
        logits: ``(B, K)`` or ``(B, K, H, W)``.
        target: class indices of any integer type, 255 unknown.
        gamma: 0 is cross entropy.
    """
    target = target.long()
    known = target != IGNORE_INDEX
    log_probability = functional.log_softmax(logits, 1).gather(1, target.where(known, 0).unsqueeze(1)).squeeze(1)
    each = -((1 - log_probability.exp()) ** gamma) * log_probability
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)


def dice(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """Return one minus the mean Dice overlap of the classes that occur (Milletari et al. 2016).

    Args:
        logits: ``(B, K)`` or ``(B, K, H, W)``.
        target: class indices of any integer type, 255 unknown.
        smooth: keeps rare classes from a division by nearly nothing.
    """
    target = target.long()
    known = (target != IGNORE_INDEX).unsqueeze(1)
    truth = functional.one_hot(target.where(known.squeeze(1), 0), logits.shape[1]).movedim(-1, 1) * known
    probability = logits.softmax(1) * known
    axes = (0, *range(2, logits.ndim))
    overlap, total = (probability * truth).sum(axes), (probability + truth).sum(axes)
    occurs = (truth.sum(axes) > 0).to(logits.dtype)
    loss = 1 - (2 * overlap + smooth) / (total + smooth)
    return (loss * occurs).sum() / occurs.sum().clamp(min=1)


def cross_entropy_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross entropy plus Dice: every pixel counts, and every class does."""
    return cross_entropy(logits, target) + dice(logits, target)


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross entropy of every yes and no: logits and targets ``(B, K)``; NaN targets are unknown."""
    known = ~target.isnan()
    each = functional.binary_cross_entropy_with_logits(logits, target.where(known, 0.0), reduction="none")
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)


def asymmetric(logits: Tensor, target: Tensor, gamma: float = 4.0, margin: float = 0.05) -> Tensor:
    """Return the asymmetric loss: easy absences count little, since a chip lacks most classes (Ridnik et al. 2021).

    Args:
        logits: ``(B, K)``.
        target: ``(B, K)`` of noughts and ones; NaN is unknown.
        gamma: how fast a confident absence is forgotten; a presence never is.
        margin: absences below this probability cost nothing.
    """
    known = ~target.isnan()
    truth = target.where(known, 0.0)
    absent = (logits.sigmoid() - margin).clamp(min=0)
    cost = -truth * functional.logsigmoid(logits) - (1 - truth) * absent**gamma * torch.log1p(
        -absent.clamp(max=1 - 1e-6)
    )
    return torch.where(known, cost, 0.0).sum() / known.sum().clamp(min=1)


MULTILABEL_LOSSES: dict[str, Loss] = {"binary_cross_entropy": binary_cross_entropy, "asymmetric": asymmetric}
LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "cross_entropy_dice": cross_entropy_dice,
}
