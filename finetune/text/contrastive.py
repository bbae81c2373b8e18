"""Contrastive losses (InfoNCE, sigmoid) with repeated captions as positives, over all ranks at once.

Captions made from classes repeat: in a batch of 128 chips of ten classes every caption is there a dozen times, and a
loss that takes each repetition for a mistake teaches nothing (open_clip #941). So every pair of the same words, or of
the same class, is a positive. Each rank computes the rows of its own samples against the samples of all ranks; the mean
of the ranks' losses, and the mean of their gradients, which is what DDP computes, are those of the joined batch.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

Contrastive = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def info_nce(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, ids: Tensor) -> Tensor:
    """Return this rank's share of the symmetric InfoNCE loss with several positives a row, a scalar.

    A row's loss is the mean over its positives of minus their log-softmax (Khosla et al. 2020, eq. 2); with one
    positive a row it is CLIP's.

    Args:
        image: unit vectors of this rank's images, ``(B, D)``.
        text: unit vectors of their captions, ``(B, D)``.
        scale: factor on the cosine, a scalar.
        bias: not used: a softmax does not see it.
        ids: caption and class of each sample, ``(B, 2)`` int64; -1 fits nothing but itself.
    """
    images, texts, positive = _joined(image, text, ids)
    of_images = _mean_of_positives(scale * image.float() @ texts.T, positive)
    of_texts = _mean_of_positives(scale * text.float() @ images.T, positive)
    return (of_images + of_texts) / 2


def sigmoid(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, ids: Tensor) -> Tensor:
    """Return this rank's share of the pairwise sigmoid loss (Zhai et al. 2023, eq. 1), a scalar; see :func:`info_nce`.

    Args:
        image: unit vectors of this rank's images, ``(B, D)``.
        text: unit vectors of their captions, ``(B, D)``.
        scale: factor on the cosine, a scalar.
        bias: added to every pair's logit, a scalar; most pairs are no pairs.
        ids: caption and class of each sample, ``(B, 2)`` int64; -1 fits nothing but itself.
    """
    _, texts, positive = _joined(image, text, ids)
    logits = scale * image.float() @ texts.T + bias
    return -functional.logsigmoid(torch.where(positive, logits, -logits)).sum() / len(image)


CONTRASTIVE: dict[str, Contrastive] = {"infonce": info_nce, "sigmoid": sigmoid}


def positives(rows: Tensor, columns: Tensor) -> Tensor:
    """Return which pairs belong together, ``(B, N)`` bool: the same caption, or the same class.

    Args:
        rows: caption and class of this rank's samples, ``(B, 2)``.
        columns: of all samples, ``(N, 2)``.
    """
    same = (rows[:, None] == columns[None]) & (rows[:, None] >= 0)  # (B, N, 2)
    return same.any(-1)


def gather_with_gradients(own: Tensor) -> Tensor:
    """Return the rows of all ranks, ``(B, D)`` to ``(world * B, D)``; gradients go back to their rank."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return own
    return _Gather.apply(own)  # type: ignore[no-any-return]


def gather(own: Tensor) -> Tensor:
    """Return the rows of all ranks without gradients."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return own
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """All-gather whose backward sums what every rank's loss asks of a row."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.rows = len(own)
        return gather(own)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        first = dist.get_rank() * ctx.rows
        return total[first : first + ctx.rows]


def _joined(image: Tensor, text: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return all ranks' images and texts, ``(N, D)`` each, and this rank's positives, ``(B, N)``."""
    first = dist.get_rank() * len(image) if dist.is_initialized() else 0
    positive = positives(ids, gather(ids))
    own = torch.arange(len(image), device=image.device)
    positive[own, first + own] = True
    return gather_with_gradients(image.float()), gather_with_gradients(text.float()), positive


def _mean_of_positives(logits: Tensor, positive: Tensor) -> Tensor:
    log_probability = functional.log_softmax(logits, dim=1)
    of_rows = torch.where(positive, log_probability, 0.0).sum(1) / positive.sum(1)
    return -of_rows.mean()
