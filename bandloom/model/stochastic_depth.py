"""Stochastic depth (Huang et al. 2016, 1603.09382), drawn by sample and not by the batch that a sample comes in."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bandloom.draws.sample_draws import draws_seen, uniforms
from bandloom.training.device_memory import to_device

_DEPTH = 105  # purpose of a sample's draws


class StochasticDepth(nn.Module):
    """Leave a residual branch out of some samples, and scale it up in the others.

    Args:
        rate: share of the samples that go without the branch.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.at: Tensor | None = None  # uniform numbers (B,) of the samples that are seen next

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch ``(B, ...)``, 0 where it is left out; unchanged outside training."""
        if not self.training or not self.rate:
            return branch
        at = torch.rand(len(branch), device=branch.device) if self.at is None else self.at
        keep = (at >= self.rate).to(branch.dtype) / (1 - self.rate)
        return branch * keep.reshape(-1, *[1] * (branch.ndim - 1))


def draw_depth(layers: Sequence[StochasticDepth], tokens: Tensor) -> None:
    """Draw for the samples of ``tokens`` which layers they go without; of torch's generator where nobody named them."""
    if not any(layer.training and layer.rate for layer in layers):
        return
    draws = draws_seen(len(tokens))
    at = None if draws is None else to_device(uniforms(draws, _DEPTH, len(layers)), tokens.device)
    for number, layer in enumerate(layers):
        layer.at = None if at is None else at[:, number]
