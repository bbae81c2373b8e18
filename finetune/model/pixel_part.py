"""Per-pixel networks: class logits from a pixel's spectrum and its nearest surroundings, fitted in seconds."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.finetune.model.native_bands import BandGroup, repeated, stacked
from bandloom.finetune.model.near import NEAR_REACH_PX, PLANES, WIDE_PLANES, WIDE_REACH_PX, Near, OneScale
from bandloom.finetune.model.quantile_code import STEPS, QuantileCode

NETWORKS = ("values", "coded", "near", "wide", "linear")
FIRST = ("values", "coded", "near")  # which a model from before there were others has, and a mean without validation
LATER = ("surroundings", "wide", "linear")  # modules that it lacks


class PixelPart(nn.Module):
    """A pixel's class logits: the weighted mean of small networks, which err differently.

    ``values`` sees the pixel's bands, ``coded`` how far each has climbed through its quantiles, ``near`` what
    :class:`Near` tells of windows of 3 and 9 pixels, ``wide`` of 25 pixels as well; ``linear`` is a linear map of the
    bands. ``weights`` says how much each counts; one at weight 0 is not computed, and does not train on. Bands of
    20 and 60 m are coded, and meet their weights, on the grid that they were measured on.

    Args:
        bands: C, the bands of a pixel.
        classes: K.
        width: channels inside each network.
    """

    def __init__(self, bands: int, classes: int, width: int = 64) -> None:
        super().__init__()
        self.bands = bands
        self.values = _network(bands, classes, width)
        self.code = QuantileCode(bands)
        self.coded = _network(bands * STEPS, classes, width)
        self.windows = Near(bands)
        self.near = _network(bands * PLANES, classes, width)
        self.weights: Any
        self.register_buffer("weights", torch.tensor(plain_mean()))
        with torch.random.fork_rng(devices=[]):  # models draw the weights that they drew before these were here
            self.surroundings = OneScale(bands * WIDE_PLANES)
            self.wide = _network(bands * WIDE_PLANES, classes, width)
            self.linear = nn.Sequential(nn.Conv2d(bands, classes, 1))
        self._left_out = _of_no_weight(plain_mean())
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
        if self._counts("near") or self._counts("wide"):
            logits = logits + self._of_windows(pixels)
        if self._counts("linear"):
            logits = logits + self.weights[4] * self.linear(pixels)
        return logits, spectrum

    def _of_windows(self, pixels: Tensor) -> Tensor:
        """Return the weighted sum of the networks that see windows, whose planes are made once."""
        wide = self._counts("wide")
        planes = self.windows.planes(pixels, wide)
        parts = [self.weights[3] * self.wide(self.surroundings(planes))] if wide else []
        if self._counts("near"):
            parts.append(self.weights[2] * self.near(self.windows(planes[:, : self.bands * PLANES])))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    @torch.no_grad()
    def weigh(self, weights: Sequence[float]) -> None:
        """Set how much each of :data:`NETWORKS` counts; the weights of a mean sum to 1."""
        self.weights.copy_(torch.tensor(weights))
        self._left_out = _of_no_weight(weights)

    def weigh_as(self, state: Mapping[str, Tensor], prefix: str) -> None:
        """Set how much each network counts to what a state says that is read later: it decides which of them train."""
        self.weigh(self.later(state, prefix)[f"{prefix}weights"].tolist())

    def require_grad(self) -> None:
        """Let the networks that count train, and no others: those are not computed, so they have no gradient."""
        self.requires_grad_(True)
        for name in self._left_out - {"values"}:  # whose features the correction reads, whatever its own weight
            getattr(self, name).requires_grad_(False)

    @property
    def reach_px(self) -> int:
        """How far around a pixel the networks that count see, in pixels."""
        reaches = {"wide": WIDE_REACH_PX, "near": NEAR_REACH_PX}
        return max(reaches.get(name, 0) for name in NETWORKS if name not in self._left_out)

    def _counts(self, name: str) -> bool:
        return name not in self._left_out

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
        state |= self.later(state, prefix)
        self._left_out = _of_no_weight(state[f"{prefix}weights"].tolist())

    def later(self, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
        """Return what a state lacks that was written before networks had weights, or before there were all of them.

        Its own are weighed as they were: by the plain mean where there were no weights; later ones have weight 0.
        """
        weights = state.get(f"{prefix}weights", torch.tensor(plain_mean()))
        if f"{prefix}surroundings.centre" in state:
            return {f"{prefix}weights": weights}
        weights = torch.cat([weights, weights.new_zeros(len(NETWORKS) - len(weights))])
        own = {name: value for name, value in self.state_dict().items() if name.split(".")[0] in LATER}
        return {f"{prefix}{name}": value for name, value in own.items()} | {f"{prefix}weights": weights}


def plain_mean() -> list[float]:
    """Return weights of the plain mean of :data:`FIRST`."""
    return [1 / len(FIRST) if name in FIRST else 0.0 for name in NETWORKS]


def _of_no_weight(weights: Sequence[float]) -> frozenset[str]:
    return frozenset(name for name, weight in zip(NETWORKS, weights, strict=True) if not weight)


def _network(inputs: int, classes: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, 1), nn.GELU(), nn.Conv2d(width, width, 1), nn.GELU(), nn.Conv2d(width, classes, 1)
    )
