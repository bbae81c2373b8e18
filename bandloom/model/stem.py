"""The filter stem: edges and textures of a token, which a linear embedding cannot say, by rectified 3 x 3 filters."""

import numpy as np
import torch
from torch import Tensor, nn

from bandloom.model.token_layout import TokenLayout, area_overlap, token_layout
from bandloom.sensors import SLOTS, Sensor
from bandloom.training.device_memory import constant

PIXEL_M = 10  # the grid that filters see, of every band
TAPS = 3  # samples of a filter's side
EDGE_GAIN = 3.0  # of filters that flat ground leaves at 0: neighbours differ less than bands
MIX_GAIN = 6.0  # what filters say starts above what is linear and above positions: 3 times more than level was better
RECTIFIED_MEAN = (2 * np.pi) ** -0.5  # of max(0, x) where x is normal with deviation 1


class FilterStem(nn.Module):
    """Embed the mean over a token of filters that see 3 x 3 samples of all bands at once and give what is above 0.

    ``token = mix @ mean(relu(scale * filter * samples + bias))``, ``scale = sqrt(all slots / present slots)``. Filters
    lie within a token, so that nothing of a hidden neighbour is seen. Bands come to 10 m by area, which repeats coarser
    samples; absent samples count as the mean. Half of the filters start blind to flat ground.

    Args:
        filters: F, their number.
        embed_dim: D, the width of a token.
        token_m: metres of ground a token covers.
    """

    def __init__(self, filters: int, embed_dim: int, token_m: int) -> None:
        super().__init__()
        self.token_m = token_m
        self.weight = nn.Parameter(torch.empty(filters, len(SLOTS), TAPS, TAPS))
        self.bias = nn.Parameter(torch.empty(filters))
        self.mix = nn.Parameter(torch.empty(embed_dim, filters))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start filters with responses of deviation 1, and tokens above those of the linear embedding."""
        filters, slots = self.weight.shape[:2]
        with torch.no_grad():
            # samples normalised by 2 sigma have a deviation of 1/2
            self.weight.normal_(std=2 / (slots * TAPS**2) ** 0.5)
            edges = self.weight[filters // 2 :]
            edges.copy_(EDGE_GAIN * (edges - edges.mean((2, 3), keepdim=True)))
            self.bias.normal_(std=0.5)
            self.bias[filters // 2 :] /= 5
            self.mix.normal_(std=MIX_GAIN / filters**0.5)

    def forward(self, samples: Tensor, share: Tensor, sensor: Sensor) -> Tensor:
        """Embed samples ``(B, T, S)``, 0 where absent, of which ``share`` ``(B, T, 13)`` is there: ``(B, T, D)``."""
        said = self.responses(samples, share, sensor)
        return nn.functional.linear(said, self.mix).reshape(*samples.shape[:2], -1)

    def responses(self, samples: Tensor, share: Tensor, sensor: Sensor) -> Tensor:
        """Return each filter's rectified mean over every token, less what noise gives, ``(B * T, F)``."""
        layout = token_layout(sensor, self.token_m)
        planes = to_pixels(samples.flatten(0, 1), layout)  # (B * T, C, n, n)
        own = constant(samples.device, slots_of, layout)
        response = nn.functional.conv2d(planes, self.weight.index_select(1, own))  # (B * T, F, n - 2, n - 2)
        scale = (len(SLOTS) / share.sum(-1).clamp(min=1.0)).sqrt().reshape(-1, 1, 1, 1)
        return (response * scale + self.bias[:, None, None]).relu().mean((2, 3)) - RECTIFIED_MEAN


def to_pixels(samples: Tensor, layout: TokenLayout) -> Tensor:
    """Resample tokens ``(N, S)`` to 10 m by area, band by band, ``(N, C, n, n)``."""
    side, parts = layout.token_m // PIXEL_M, []
    for gsd_m, where in layout.by_gsd().items():
        arriving = layout.token_m // gsd_m
        squares = samples[:, where].unflatten(1, (-1, arriving, arriving))  # (N, C of the group, side, side)
        if arriving != side:
            overlap = constant(samples.device, area_overlap, side, arriving).to(samples)  # (n, side)
            squares = overlap @ squares @ overlap.T
        parts.append(squares)
    return torch.cat(parts, 1)


def slots_of(layout: TokenLayout) -> np.ndarray:
    """Return the index into ``SLOTS`` of every band of a token, ``(C,)`` int64."""
    return np.array([SLOTS.index(slot.slot) for slot in layout.slots], np.int64)
