"""Tiling: where a scene's tiles lie, how its border is mirrored, and the weights where tiles overlap.

All lengths are in map pixels of 10 m and multiples of 6: every tile begins on the 60 m grid, where all band groups have
a sample corner. A tile's outer ``margin_px`` saw no context on one side and is thrown away; the core that is left
overlaps its neighbour's by ``taper_px``, over which one fades into the other.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bandloom.errors import BundleError

MAP_PIXEL_M = 10  # what a segmenter's logits are sampled at
CELL_M = 60  # the grid that every native group shares
CELL_PX = CELL_M // MAP_PIXEL_M


@dataclass(frozen=True)
class Tiling:
    """The tile, margin and taper of a bundle, in map pixels."""

    tile_px: int
    margin_px: int = 0
    taper_px: int = 0

    def __post_init__(self) -> None:
        for what in ("tile_px", "margin_px", "taper_px"):
            value = getattr(self, what)
            if value % CELL_PX or value < 0:
                raise BundleError(f"{what} is {value}; it must be a multiple of {CELL_PX} pixels ({CELL_M} m).")
        if self.core_px < max(CELL_PX, 2 * self.taper_px):
            raise BundleError(
                f"a tile of {self.tile_px} pixels with a margin of {self.margin_px} keeps {self.core_px}, which must be"
                f" positive and at least twice the taper of {self.taper_px}; lower the margin or the taper."
            )

    @property
    def core_px(self) -> int:
        """What is kept of a tile's side."""
        return self.tile_px - 2 * self.margin_px

    @property
    def stride_px(self) -> int:
        """The distance from one tile to the next."""
        return self.core_px - self.taper_px

    @property
    def half_stride_px(self) -> int:
        """Half a stride on the 60 m grid: the shift that moves every seam as far from its old place as it goes."""
        return self.stride_px // 2 // CELL_PX * CELL_PX

    def starts(self, size_px: int, shift_px: int = 0) -> np.ndarray:
        """Return where cores begin along a side of ``size_px``, so that they cover it.

        The last tile is pulled back inside rather than filled with mirrored ground.

        Args:
            size_px: the side, a multiple of 6.
            shift_px: how far before the scene's edge the first core begins, less than a stride.
        """
        last = max(size_px - self.core_px, 0)
        regular = np.arange(-shift_px, last, self.stride_px)
        return np.append(regular, last).astype(np.int64)

    @cached_property
    def weights(self) -> np.ndarray:
        """How much each pixel of a core counts, ``(core, core)`` float32: 1 inside, fading over the taper.

        The fade is a squared sine, so that two overlapping cores sum to one (sin^2 + cos^2).
        """
        side = np.ones(self.core_px)
        if self.taper_px:
            ramp = np.sin(np.pi / 2 * (np.arange(self.taper_px) + 0.5) / self.taper_px) ** 2
            side[: self.taper_px] = ramp
            side[-self.taper_px :] = ramp[::-1]
        return np.outer(side, side).astype(np.float32)


def mirror(positions: np.ndarray, size: int) -> np.ndarray:
    """Map positions outside ``0..size-1`` back inside by reflection at the edges, the edge sample repeated.

    The mirror line is the scene's edge itself, the one line that grids of every sample size share; a scene smaller
    than its border is reflected as often as it takes.
    """
    inside = positions % (2 * size)
    return np.where(inside < size, inside, 2 * size - 1 - inside)


def usual_batch(tile_px: int) -> int:
    """Return how many tiles an engine is given at once: the memory of eight of 72 pixels, and no more of smaller."""
    return max(1, min(8, 8 * 72**2 // tile_px**2))


def round_up_to_cells(length_m: float) -> int:
    """Return ``length_m`` in map pixels, rounded up to the 60 m grid."""
    return int(np.ceil(round(length_m, 6) / CELL_M)) * CELL_PX
