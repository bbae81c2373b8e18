"""From tokens to classes: heads of plain convolutions, all exportable, none with batch statistics or fixed sizes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

PIXEL_M = 10  # maps are made on the 10 m grid


class SegmentHead(nn.Module):
    """Tokens to class logits of 10 m pixels: what a pixel's own spectrum says, corrected by what surrounds it.

    The spectrum's part is a small network on the bands of one pixel, which keeps edges crisp and can be fitted on its
    own in seconds (:mod:`finetune.warm_start`). The correction opens each token into its own square of pixels (linear,
    pixel shuffle; a transposed convolution would do the same and fails in bfloat16 engines) and starts at zero.

    Args:
        embed_dim: D.
        token_m: metres of ground a token covers.
        classes: K.
        bands: C, the bands of a pixel.
        width: channels of the correction at 10 m.
        spectral_width: channels of the spectrum's part.
    """

    def __init__(
        self, embed_dim: int, token_m: int, classes: int, bands: int, width: int = 32, spectral_width: int = 64
    ) -> None:
        super().__init__()
        self.side = token_m // PIXEL_M
        self.spectrum = nn.Sequential(
            nn.Conv2d(bands, spectral_width, 1), nn.GELU(), nn.Conv2d(spectral_width, spectral_width, 1), nn.GELU()
        )
        self.classify_spectrum = nn.Conv2d(spectral_width, classes, 1)
        self.open = nn.Linear(embed_dim, width * self.side**2)
        self.mix = nn.Conv2d(width + spectral_width, width, 3, padding=1)
        self.correct: Any = nn.Conv2d(width, classes, 1)
        nn.init.zeros_(self.correct.weight)
        nn.init.zeros_(self.correct.bias)

    def forward(self, tokens: Tensor, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return logits ``(B, K, H, W)``.

        Args:
            tokens: ``(B, T, D)``.
            pixels: normalised bands on the 10 m grid, ``(B, C, H, W)``.
            grid: token rows and columns.
        """
        opened = self.open(tokens).transpose(1, 2)  # (B, width * side^2, T)
        opened = functional.gelu(functional.pixel_shuffle(opened.unflatten(2, grid), self.side))  # (B, width, H, W)
        spectrum = self.spectrum(pixels)
        mixed = functional.gelu(self.mix(torch.cat([opened, spectrum], dim=1)))
        return self.classify_spectrum(spectrum) + self.correct(mixed)


class ChangeHead(SegmentHead):
    """Two dates to class logits of 10 m pixels: what both encoders' tokens and their difference say, and both spectra.

    Args:
        embed_dim: D.
        token_m: metres of ground a token covers.
        classes: K.
        bands: C, the bands of a pixel at one date.
    """

    def __init__(self, embed_dim: int, token_m: int, classes: int, bands: int) -> None:
        super().__init__(embed_dim, token_m, classes, 2 * bands)
        self.join = nn.Linear(3 * embed_dim, embed_dim)

    def forward(self, tokens: Tensor, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return logits ``(B, K, H, W)``.

        Args:
            tokens: earlier, later and their difference, ``(B, T, 3 D)``.
            pixels: normalised bands of the earlier date and the difference, ``(B, 2 C, H, W)``.
            grid: token rows and columns.
        """
        return super().forward(functional.gelu(self.join(tokens)), pixels, grid)


class ClassifyHead(nn.Module):
    """The mean token to class logits of the chip (MAE's fine-tuning head: mean, norm, linear)."""

    def __init__(self, embed_dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.classify = nn.Linear(embed_dim, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits ``(B, K)`` of tokens ``(B, T, D)``."""
        return self.classify(self.norm(tokens.mean(1)))
