"""Heads from tokens to classes: plain convolutions, all exportable, none with batch statistics or fixed sizes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.finetune.model.chip_parts import ChipParts
from bandloom.finetune.model.native_bands import PIXEL_M, BandGroup
from bandloom.finetune.model.pixel_part import PixelPart
from bandloom.finetune.model.samples_beside import SamplesBeside


class SegmentHead(nn.Module):
    """Tokens to class logits of 10 m pixels: what a pixel itself says, corrected by what surrounds it.

    The pixel's part is ``PixelPart``. It keeps edges crisp and can be fitted on its own in seconds
    (finetune/training/warm_start.py). The correction opens each token into its own square of pixels (linear, pixel
    shuffle; a transposed convolution would do the same and fails in bfloat16 engines) and starts at zero.

    Args:
        embed_dim: D.
        token_m: metres of ground a token covers.
        classes: K.
        bands: C, the bands of a pixel.
        width: channels of the correction at 10 m.
        spectral_width: channels of the pixel's part.
    """

    def __init__(
        self, embed_dim: int, token_m: int, classes: int, bands: int, width: int = 32, spectral_width: int = 64
    ) -> None:
        super().__init__()
        self.side = token_m // PIXEL_M
        self.pixel = PixelPart(bands, classes, spectral_width)
        self.open: nn.Module = nn.Linear(embed_dim, width * self.side**2)
        self.mix = nn.Conv2d(width + spectral_width, width, 3, padding=1)
        self.correct: Any = nn.Conv2d(width, classes, 1)
        nn.init.zeros_(self.correct.weight)
        nn.init.zeros_(self.correct.bias)

    def forward(self, tokens: Tensor, bands: Tensor | Sequence[BandGroup], grid: tuple[int, int]) -> Tensor:
        """Return logits ``(B, K, H, W)``.

        Args:
            tokens: ``(B, T, D)``.
            bands: normalised, each group on its own grid, or all on the 10 m grid, ``(B, C, H, W)``.
            grid: token rows and columns.
        """
        logits, spectrum = self.pixel(bands)
        mixed = functional.gelu(self.mix(torch.cat([self.open_tokens(tokens, grid), spectrum], dim=1)))
        return logits + self.correct(mixed)

    def open_tokens(self, tokens: Any, grid: tuple[int, int]) -> Tensor:
        """Return what surrounds each pixel, ``(B, width, H, W)``; other heads do this alone in another way."""
        opened = self.open(tokens).transpose(1, 2)  # (B, width * side^2, T)
        return functional.gelu(functional.pixel_shuffle(opened.unflatten(2, grid), self.side))


class FpnHead(SegmentHead):
    """A pyramid of four depths of the encoder: deep ones at the token's grid, shallow ones opened.

    As ViTDet's simple feature pyramid (Li et al. 2022) it makes its scales from plain tokens; unlike it, each scale has
    a depth of its own. Arguments as of :class:`SegmentHead`; tokens are four, from shallow to deep.
    """

    def __init__(self, embed_dim: int, token_m: int, classes: int, bands: int, width: int = 32) -> None:
        super().__init__(embed_dim, token_m, classes, bands, width)
        half = self.side // 2
        self.open = nn.Identity()  # the levels below stand in its place
        self.to_pixels = nn.Linear(embed_dim, width * self.side**2)
        self.to_half = nn.Linear(embed_dim, width * half**2)
        self.to_tokens = nn.ModuleList([nn.Linear(embed_dim, width), nn.Linear(embed_dim, width)])
        self.smooth = nn.ModuleList(_convolved(width) for _ in range(3))

    def open_tokens(self, tokens: Any, grid: tuple[int, int]) -> Tensor:
        """Return what surrounds each pixel, ``(B, width, H, W)``, of four ``(B, T, D)``."""
        half = self.side // 2
        third, last = (linear(token) for linear, token in zip(self.to_tokens, tokens[2:], strict=True))
        deep = self.smooth[0](_planes(third + last, grid))
        middle = functional.pixel_shuffle(_planes(self.to_half(tokens[1]), grid), half)
        middle = self.smooth[1](middle + functional.interpolate(deep, scale_factor=float(half), mode="nearest"))
        fine = functional.pixel_shuffle(_planes(self.to_pixels(tokens[0]), grid), self.side)
        return self.smooth[2](fine + functional.interpolate(middle, scale_factor=2.0, mode="nearest"))


class DptHead(SegmentHead):
    """Four depths fused one by one from deep to shallow, then opened (dense prediction transformer, Ranftl 2021).

    Arguments as of :class:`SegmentHead`; tokens are four, from shallow to deep.
    """

    def __init__(self, embed_dim: int, token_m: int, classes: int, bands: int, width: int = 32) -> None:
        super().__init__(embed_dim, token_m, classes, bands, width)
        inner = 2 * width
        self.open = nn.Identity()  # the steps below stand in its place
        self.project = nn.ModuleList(nn.Linear(embed_dim, inner) for _ in range(4))
        self.fuse = nn.ModuleList(_convolved(inner) for _ in range(4))
        self.to_half = nn.Conv2d(inner, width * (self.side // 2) ** 2, 1)
        self.smooth = _convolved(width)

    def open_tokens(self, tokens: Any, grid: tuple[int, int]) -> Tensor:
        """Return what surrounds each pixel, ``(B, width, H, W)``, of four ``(B, T, D)``."""
        fused: Any = 0.0
        for project, fuse, token in zip(self.project, self.fuse, reversed(tokens), strict=True):
            plane = _planes(project(token), grid) + fused
            fused = plane + fuse(plane)
        half = functional.pixel_shuffle(self.to_half(fused), self.side // 2)
        return self.smooth(functional.interpolate(half, scale_factor=2.0, mode="nearest"))


def _planes(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Lay tokens ``(B, T, D)`` out as ``(B, D, h, w)``."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def _convolved(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.GELU())


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

    def forward(self, tokens: Tensor, bands: Tensor | Sequence[BandGroup], grid: tuple[int, int]) -> Tensor:
        """Return logits ``(B, K, H, W)``.

        Args:
            tokens: earlier, later and their difference, ``(B, T, 3 D)``.
            bands: of the earlier date and the difference, normalised, likewise.
            grid: token rows and columns.
        """
        return super().forward(functional.gelu(self.join(tokens)), bands, grid)


class ClassifyHead(nn.Module):
    """The mean token to class logits of the chip (MAE's fine-tuning head: mean, norm, linear), beside other features.

    Args:
        embed_dim: D.
        classes: K.
        samples: S of the native samples that stand beside each token's D numbers; 0: none.
        bands: C of :class:`ChipParts`, whose logits are added where validation gave them a weight; 0: none.
    """

    def __init__(self, embed_dim: int, classes: int, samples: int = 0, bands: int = 0) -> None:
        super().__init__()
        self.parts = ChipParts(bands, classes) if bands else None
        self.beside = SamplesBeside(samples) if samples else None
        self.norm = nn.LayerNorm(embed_dim + samples)
        self.classify = nn.Linear(embed_dim + samples, classes)

    def forward(self, tokens: Tensor, bands: Sequence[BandGroup] = ()) -> Tensor:
        """Return logits ``(B, K)`` of tokens ``(B, T, D)``, or ``(B, T, D + S)``.

        Args:
            tokens: of the chips.
            bands: normalised, each group on its own grid; without them :attr:`parts` say nothing.
        """
        logits = self.classify(self.pool(tokens))
        return logits + self.parts(bands) if self.parts is not None and bands else logits

    @property
    def sees_bands(self) -> bool:
        """Whether anything beside the tokens counts."""
        return self.parts is not None and self.parts.counts

    def pool(self, tokens: Tensor) -> Tensor:
        """Return what a chip is classified by, ``(B, D)`` or ``(B, D + S)``."""
        return self.norm(tokens.mean(1))
