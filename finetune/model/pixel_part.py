"""Per-pixel networks: class logits from a pixel's spectrum and its nearest surroundings, fitted in seconds."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.finetune.model.native_bands import BandGroup, repeated, stacked
from bandloom.finetune.model.near import PLANES, Near
from bandloom.finetune.model.quantile_code import STEPS, QuantileCode

NETWORKS = ("values", "coded", "near")


class PixelPart(nn.Module):
    """A pixel's class logits: the weighted mean of three small networks, which err differently.

    ``values`` sees the pixel's bands, ``coded`` how far each has climbed through its quantiles, ``near`` what
    :class:`Near` tells. ``weights`` says how much each counts; one at weight 0 is left out of a model that
    does not train. Bands of 20 and 60 m are coded, and meet their weights, on the grid that they were measured on.

    Args:
        bands: C, the bands of a pixel.
        classes: K.
        width: channels inside each network.
    """

    def __init__(self, bands: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.values = _network(bands, classes, width)
        self.code = QuantileCode(bands)
        self.coded = _network(bands * STEPS, classes, width)
        self.windows = Near(bands)
        self.near = _network(bands * PLANES, classes, width)
        self.weights: Any
        self.register_buffer("weights", torch.full((len(NETWORKS),), 1 / len(NETWORKS)))
        self._left_out: frozenset[str] = frozenset()
        self._register_load_state_dict_pre_hook(self._read_weights)

    def forward(self, bands: Tensor | Sequence[BandGroup]) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, K, H, W)`` and features of the spectrum ``(B, width, H, W)`` of normalised bands.

        Args:
            bands: every group on its own grid, or all of them on the 10 m grid, ``(B, C, H, W)``.
        """
        groups = [BandGroup(bands)] if isinstance(bands, Tensor) else bands
        pixels = stacked(groups)
        spectrum = self.values[:-1](pixels)
        logits = self.weights[0] * self.values[-1](spectrum)
        if self._counts("coded"):
            logits = logits + self.weights[1] * self.coded[1:](self._coded_first(groups))
        if self._counts("near"):
            logits = logits + self.weights[2] * self.near(self.windows(self.windows.planes(pixels)))
        return logits, spectrum

    @torch.no_grad()
    def weigh(self, weights: Sequence[float]) -> None:
        """Set how much each of :data:`NETWORKS` counts; the weights of a mean sum to 1."""
        self.weights.copy_(torch.tensor(weights))
        self._left_out = _of_no_weight(weights)

    def _counts(self, name: str) -> bool:
        return self.training or name not in self._left_out  # while it trains, every network has a gradient

    def _coded_first(self, groups: Sequence[BandGroup]) -> Tensor:
        """Return the coded network's first layer ``(B, width, H, W)``: a sum over groups, each at its own grid."""
        layer: Any = self.coded[0]
        total, first = layer.bias[:, None, None], 0
        for group in groups:
            last = first + group.values.shape[1]
            planes = self.code(group.values, slice(first, last)).to(layer.weight.dtype)  # a 16-bit model mixes types
            share = functional.conv2d(planes, layer.weight[:, first * STEPS : last * STEPS])
            total, first = total + repeated(share, group.factor), last
        return total

    def _read_weights(self, state: dict[str, Any], prefix: str, *_: Any) -> None:
        """Read the weights of a state; one from before there were any gets the plain mean it was fitted with."""
        weights = state.setdefault(f"{prefix}weights", torch.full((len(NETWORKS),), 1 / len(NETWORKS)))
        self._left_out = _of_no_weight(weights.tolist())


def _of_no_weight(weights: Sequence[float]) -> frozenset[str]:
    return frozenset(name for name, weight in zip(NETWORKS, weights, strict=True) if not weight)


def _network(inputs: int, classes: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, 1), nn.GELU(), nn.Conv2d(width, width, 1), nn.GELU(), nn.Conv2d(width, classes, 1)
    )
