"""Piecewise-linear quantile encoding of band values: a forest's thresholds as inputs of a network."""

from typing import Any

import torch
from torch import Tensor, nn

STEPS = 16
LEAST_WIDTH = 0.01  # of a step, in normalised units: a band that never changes must not divide by nothing


class QuantileCode(nn.Module):
    """Piecewise linear coding of every band between its quantiles (Gorishniy et al. 2022, arXiv 2203.05556).

    Each band gives :data:`STEPS` planes, each 0 below its step, 1 above it, linear within. Plain arithmetic, so that it
    exports anywhere.

    Args:
        bands: C.
    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.lower: Any
        self.scale: Any
        edges = torch.linspace(-1, 1, STEPS + 1)[:, None].repeat(1, bands)  # until fitted: two deviations either way
        self.register_buffer("lower", edges[:-1].T.contiguous())  # (C, STEPS)
        self.register_buffer("scale", 1 / edges.diff(dim=0).T.contiguous())

    @torch.no_grad()
    def fit(self, pixels: Tensor) -> None:
        """Take the steps from training pixels ``(N, C)``, normalised."""
        levels = torch.linspace(0.002, 0.998, STEPS + 1, dtype=pixels.dtype)  # the last thousandths are outliers
        edges = torch.quantile(pixels, levels, dim=0)  # (STEPS + 1, C)
        self.lower.copy_(edges[:-1].T)
        self.scale.copy_(1 / edges.diff(dim=0).clamp_min(LEAST_WIDTH).T)

    def forward(self, pixels: Tensor, bands: slice = slice(None)) -> Tensor:
        """Return ``(B, C * STEPS, H, W)`` of normalised bands ``(B, C, H, W)``; ``bands`` says which these are."""
        lower, scale = self.lower[bands, :, None, None], self.scale[bands, :, None, None]
        return ((pixels.unsqueeze(2) - lower) * scale).clamp(0, 1).flatten(1, 2)
