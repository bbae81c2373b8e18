"""What a chip tells without an encoder: statistics of its bands, and random convolutional features, read linearly."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.finetune.model.native_bands import BandGroup, stacked

PARTS = ("filters", "statistics")
FILTERS = 64  # of 3 x 3 pixels, rectified both ways (Rolf et al. 2021, MOSAIKS; Coates and Ng 2012)
STATISTICS = 4  # of a band: mean, deviation, least, greatest (Corley 2023)
FLOOR = 1e-4  # of a variance, that a deviation of nothing stays one


class ChipParts(nn.Module):
    """Class logits of a chip from two sets of features in which nothing is learnt, each with a linear map.

    Everything is a buffer: fitted in closed form before the encoder trains, and left alone then. A part at weight 0 is
    left out of the model.

    Args:
        bands: C.
        classes: K.
    """

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        rng = np.random.default_rng(bands)
        self.kernel: Any
        self.shift: Any
        self.weights: Any
        kernel = rng.standard_normal((FILTERS, bands, 3, 3)) * 2 / np.sqrt(9 * bands)  # bands are at half a deviation
        self.register_buffer("kernel", torch.from_numpy(kernel.astype(np.float32)))
        self.register_buffer("shift", torch.from_numpy(0.5 * rng.standard_normal(FILTERS)).float())
        self.register_buffer("weights", torch.zeros(len(PARTS)))
        for name, features in zip(PARTS, (2 * FILTERS, STATISTICS * bands), strict=True):
            self.register_buffer(f"{name}_slope", torch.zeros(classes, features))
            self.register_buffer(f"{name}_bias", torch.zeros(classes))
        self._kept: tuple[str, ...] = ()
        self._register_load_state_dict_pre_hook(self._read_earlier)
        self.register_load_state_dict_post_hook(_keep_weighed)

    def forward(self, bands: Sequence[BandGroup]) -> Tensor:
        """Return the weighed sum of the parts' logits ``(B, K)`` of normalised bands, each group on its own grid."""
        logits: Any = 0.0
        for place, name in enumerate(PARTS):
            if name in self._kept:
                slope, bias = self.linear(name)
                products = self.features(name, bands)[:, None] * slope  # no matrix product: int8 engines leave it alone
                logits = logits + self.weights[place] * (products.sum(-1) + bias)
        return logits

    @property
    def counts(self) -> bool:
        """Whether any part has a weight."""
        return bool(self._kept)

    def features(self, name: str, bands: Sequence[BandGroup]) -> Tensor:
        """Return a part's features ``(B, F)``."""
        return self.filtered(stacked(bands)) if name == "filters" else statistics(bands)

    def filtered(self, pixels: Tensor) -> Tensor:
        """Return random features ``(B, 2 * FILTERS)`` of pixels ``(B, C, H, W)``: means over what is measured."""
        padded = functional.pad(pixels, (1, 1, 1, 1), mode="replicate")
        response = functional.conv2d(padded, self.kernel.to(pixels.dtype), self.shift.to(pixels.dtype))
        measured = (pixels * pixels).sum(1, keepdim=True).gt(0).to(pixels.dtype)
        share = measured.mean((2, 3)).clamp_min(1e-3)
        ways = torch.cat([response.relu(), (-response).relu()], dim=1)
        return (ways * measured).mean((2, 3)) / share

    def linear(self, name: str) -> tuple[Tensor, Tensor]:
        """Return a part's slope ``(K, F)`` and bias ``(K,)``."""
        return getattr(self, f"{name}_slope"), getattr(self, f"{name}_bias")

    @torch.no_grad()
    def weigh(self, weights: Sequence[float]) -> None:
        """Set how much each of :data:`PARTS` counts."""
        self.weights.copy_(torch.tensor(weights))
        _keep_weighed(self)

    def _read_earlier(self, state: dict[str, Any], prefix: str, *_: Any) -> None:
        """Read a state from before there were parts: they have no weight in it."""
        if not any(name.startswith(prefix) for name in state):
            state |= {f"{prefix}{name}": value.clone() for name, value in self.named_buffers()}
            state[f"{prefix}weights"] = torch.zeros_like(self.weights)


def statistics(bands: Sequence[BandGroup]) -> Tensor:
    """Return mean, deviation, least and greatest value of each band over its own samples, ``(B, 4 C)``.

    In fp32 at least, a deviation from what is left without the mean: of a bright chip that varies little the difference
    of squares would be rounding alone. A band that is absent everywhere gives 0.
    """
    columns = []
    for group in bands:
        values = group.values if group.values.dtype == torch.float64 else group.values.float()
        known = values.ne(0).to(values.dtype)
        share = known.mean((2, 3)).clamp_min(1e-4)
        mean = values.mean((2, 3)) / share
        variance = ((values - mean[..., None, None]) * known).square().mean((2, 3)) / share
        far = 1e4 * (1 - known)
        least, greatest = (values + far).amin((2, 3)), (values - far).amax((2, 3))
        seen = known.amax((2, 3))
        columns += [mean, (variance + FLOOR).sqrt() - FLOOR**0.5, least * seen, greatest * seen]
    return torch.cat(columns, dim=1).to(bands[0].values.dtype)


def _keep_weighed(parts: Any, *_: Any) -> None:
    parts._kept = tuple(name for name, weight in zip(PARTS, parts.weights.tolist(), strict=True) if weight)
