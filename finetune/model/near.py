"""Window planes: each band's value, and its mean and deviation over windows of pixels around it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOWS_PX = (3, 9)  # the second is three of the first wide, and its sums are made of theirs
WIDE_PX, WIDE_STEP_PX = 25, 8  # a wide window is nine of the second that lie so far apart
NEAR_REACH_PX, WIDE_REACH_PX = 4, 12  # how far from a pixel its windows see
PLANES = 1 + 2 * len(WINDOWS_PX)  # a band's value, and its mean and deviation over each window
WIDE_PLANES = PLANES + 2  # and over a wide window
LEAST_DEVIATION = 0.01  # of a window or a plane in which nothing changes, in normalised units


class OneScale(nn.Module):
    """Brings planes to one scale: about 0, two deviations a unit.

    Args:
        planes: F.
    """

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.centre: Any
        self.scale: Any
        self.register_buffer("centre", torch.zeros(planes))
        self.register_buffer("scale", torch.ones(planes))

    @torch.no_grad()
    def fit(self, planes: Tensor) -> None:
        """Take centre and scale from planes of training pixels ``(N, F)``."""
        self.centre.copy_(planes.mean(0))
        self.scale.copy_(0.5 / planes.std(0).clamp_min(LEAST_DEVIATION))

    def rows(self, planes: Tensor) -> Tensor:
        """Return planes of pixels ``(N, F)`` on that scale."""
        return (planes - self.centre) * self.scale

    def forward(self, planes: Tensor) -> Tensor:
        """Return planes ``(B, F, H, W)`` on that scale."""
        return (planes - self.centre[:, None, None]) * self.scale[:, None, None]


class Near(OneScale):
    """Each band's value and its mean and deviation over the windows around a pixel, brought to one scale.

    Windows end at the chip's edge. Slices and plain arithmetic, so that it exports anywhere. Deviations are
    ``sqrt(variance + floor) - sqrt(floor)``: where nothing changes, the plain root of a rounding error would be
    hundreds of times that error, and another for every runtime. A model from before there was a floor has 0.

    Args:
        bands: C.
    """

    def __init__(self, bands: int) -> None:
        super().__init__(bands * PLANES)
        self.floor: Any
        self.register_buffer("floor", torch.tensor(LEAST_DEVIATION**2))
        self._register_load_state_dict_pre_hook(_read_floor)

    def planes(self, pixels: Tensor, wide: bool = False) -> Tensor:
        """Return ``(B, C * P, H, W)`` of normalised bands ``(B, C, H, W)``; the first C are the bands.

        P is :data:`PLANES`, or :data:`WIDE_PLANES` with the wide window's, which come last. In fp32 at least, whatever
        the model is cast to: a deviation is a small difference of squares.
        """
        exact = pixels.double() if pixels.dtype == torch.float64 else pixels.float()
        bands, planes, floor = exact.shape[1], [exact], self.floor.to(exact.dtype)
        means = _window_means(torch.cat([exact, exact.square()], dim=1))
        for mean in [*means, _wide_mean(means[-1])] if wide else means:
            variance = (mean[:, bands:] - mean[:, :bands].square()).clamp_min(0)
            planes += [mean[:, :bands], (variance + floor).sqrt() - floor.sqrt()]
        return torch.cat(planes, dim=1).to(pixels.dtype)


def _read_floor(state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give a state from before there was a floor none, so that it answers as it did."""
    state.setdefault(f"{prefix}floor", torch.tensor(0.0))


def _window_means(pixels: Tensor) -> list[Tensor]:
    """Return the means of ``(B, C, H, W)`` over squares of 3 and of 9 pixels, in eight sums of three a pixel."""
    height, width = pixels.shape[-2:]
    small = _sums_of_three(functional.pad(pixels, (4, 4, 4, 4)), 1)  # of windows that begin beyond the edge as well
    large = _sums_of_three(small, 3)
    return [
        total * (_shares(height, side, pixels)[:, None] * _shares(width, side, pixels))
        for side, total in zip(WINDOWS_PX, (small[..., 3:-3, 3:-3], large), strict=True)
    ]


def _wide_mean(means: Tensor) -> Tensor:
    """Return the mean over a wide window: of nine means of 9 pixels, the nearest one where one lies beyond the edge."""
    return _sums_of_three(_beyond(_beyond(means, -1), -2), WIDE_STEP_PX) / 9


def _beyond(values: Tensor, axis: int) -> Tensor:
    """Return values with the first and the last along an axis repeated beyond the edge, as far as a window reaches."""
    first, last = values.narrow(axis, 0, 1), values.narrow(axis, values.shape[axis] - 1, 1)
    return torch.cat([*[first] * WIDE_STEP_PX, values, *[last] * WIDE_STEP_PX], dim=axis)


def _sums_of_three(pixels: Tensor, step: int) -> Tensor:
    """Return sums of three by three values that lie ``step`` apart, ``(B, C, H - 2 step, W - 2 step)``."""
    height, width = (side - 2 * step for side in pixels.shape[-2:])
    down = pixels[..., :height, :] + pixels[..., step : step + height, :] + pixels[..., 2 * step :, :]
    return down[..., :width] + down[..., step : step + width] + down[..., 2 * step :]


def _shares(length: int, side: int, like: Tensor) -> Tensor:
    """Return 1 / (pixels of a window that lie inside) at every position of a row, ``(length,)``."""
    at, half = torch.arange(length, device=like.device), side // 2
    inside = (at + half).clamp_max(length - 1) - (at - half).clamp_min(0) + 1
    return 1 / inside.to(like.dtype)
