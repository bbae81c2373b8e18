"""Per-pixel networks: class logits from a pixel's spectrum and its nearest surroundings, fitted in seconds."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.finetune.model.quantile_code import STEPS, QuantileCode

WINDOWS_PX = (3, 9)
PLANES = 1 + 2 * len(WINDOWS_PX)  # a band's value, and its mean and deviation over each window
LEAST_DEVIATION = 0.01  # of a plane that never changes, in normalised units


class Near(nn.Module):
    """Each band's value and its mean and deviation over the windows around a pixel, brought to one scale.

    Windows end at the chip's edge. Average pooling and plain arithmetic, so that it exports anywhere.

    Args:
        bands: C.
    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.centre: Any
        self.scale: Any
        self.register_buffer("centre", torch.zeros(bands * PLANES))
        self.register_buffer("scale", torch.ones(bands * PLANES))

    @staticmethod
    def planes(pixels: Tensor) -> Tensor:
        """Return ``(B, C * PLANES, H, W)`` of normalised bands ``(B, C, H, W)``; the first C are the bands.

        In fp32 whatever the model is cast to: a deviation is a small difference of squares.
        """
        exact = pixels.float()
        planes = [exact]
        for side in WINDOWS_PX:
            mean = _window_mean(exact, side)
            planes += [mean, (_window_mean(exact.square(), side) - mean.square()).clamp_min(0).sqrt()]
        return torch.cat(planes, dim=1).to(pixels.dtype)

    @torch.no_grad()
    def fit(self, planes: Tensor) -> None:
        """Take centre and scale from planes of training pixels ``(N, C * PLANES)``."""
        self.centre.copy_(planes.mean(0))
        self.scale.copy_(0.5 / planes.std(0).clamp_min(LEAST_DEVIATION))

    def forward(self, planes: Tensor) -> Tensor:
        """Return planes ``(B, C * PLANES, H, W)`` about 0 and at two deviations a unit."""
        return (planes - self.centre[:, None, None]) * self.scale[:, None, None]


class PixelPart(nn.Module):
    """A pixel's class logits: the mean of three small networks, which err differently.

    ``values`` sees the pixel's bands, ``coded`` how far each has climbed through its quantiles, ``near`` what
    :class:`Near` tells.

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

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, K, H, W)`` and features of the spectrum ``(B, width, H, W)`` of normalised bands."""
        spectrum = self.values[:-1](pixels)
        coded = self.coded(self.code(pixels))
        near = self.near(self.windows(Near.planes(pixels)))
        return (self.values[-1](spectrum) + coded + near) / 3, spectrum


def _window_mean(pixels: Tensor, side: int) -> Tensor:
    """Average down the columns and then along the rows: a square window's mean in far fewer sums."""
    half = side // 2
    down = functional.avg_pool2d(pixels, (side, 1), stride=1, padding=(half, 0), count_include_pad=False)
    return functional.avg_pool2d(down, (1, side), stride=1, padding=(0, half), count_include_pad=False)


def _network(inputs: int, classes: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, 1), nn.GELU(), nn.Conv2d(width, width, 1), nn.GELU(), nn.Conv2d(width, classes, 1)
    )
