"""From tokens to classes: heads of plain convolutions, all exportable, none with batch statistics or fixed sizes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

PIXEL_M = 10  # maps are made on the 10 m grid


class SegmentHead(nn.Module):
    """Tokens to class logits of 10 m pixels, with a light skip from the measured 10 m bands for crisp edges.

    Each token is opened into its own square of pixels (linear, pixel shuffle); a transposed convolution would do the
    same and fails in bfloat16 engines.

    Args:
        embed_dim: D.
        token_m: metres of ground a token covers.
        classes: K.
        skip_bands: number of 10 m bands; 0 for a sensor without.
        width: channels at 10 m.
    """

    def __init__(self, embed_dim: int, token_m: int, classes: int, skip_bands: int, width: int = 32) -> None:
        super().__init__()
        self.side = token_m // PIXEL_M
        self.open = nn.Linear(embed_dim, width * self.side**2)
        self.skip = nn.Conv2d(skip_bands, width, 1) if skip_bands else None
        self.mix = nn.Conv2d(2 * width if skip_bands else width, width, 3, padding=1)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, tokens: Tensor, fine: Tensor | None, grid: tuple[int, int]) -> Tensor:
        """Return logits ``(B, K, H, W)``.

        Args:
            tokens: ``(B, T, D)``.
            fine: normalised 10 m bands ``(B, C, H, W)``, None for a sensor without.
            grid: token rows and columns.
        """
        opened = self.open(tokens).transpose(1, 2)  # (B, width * side^2, T)
        pixels = functional.pixel_shuffle(opened.unflatten(2, grid), self.side)  # (B, width, H, W)
        if self.skip is not None and fine is not None:
            pixels = torch.cat([pixels, self.skip(fine)], dim=1)
        return self.classify(functional.gelu(self.mix(functional.gelu(pixels))))


class ClassifyHead(nn.Module):
    """The mean token to class logits of the chip (MAE's fine-tuning head: mean, norm, linear)."""

    def __init__(self, embed_dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.classify = nn.Linear(embed_dim, classes)

    def forward(self, tokens: Tensor, *_: Any) -> Tensor:
        """Return logits ``(B, K)`` of tokens ``(B, T, D)``."""
        return self.classify(self.norm(tokens.mean(1)))
