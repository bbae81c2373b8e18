"""Cuts a scene into square samples on a 60 m grid, its edges padded with absent samples."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bandloom.rasters.values import valid
from bandloom.shards.scenes import ALIGN_M, Scene, WalkedScene, WindowM


@dataclass(frozen=True)
class Cut:
    """One square of a scene: its row and column, its window, its pixels and its cloud mask."""

    row: int
    column: int
    window_m: WindowM
    groups: dict[int, np.ndarray]  # {gsd_m: (C, H, W)} uint16
    cloud: np.ndarray | None  # (H10, W10) bool
    valid_fraction: float
    cloud_fraction: float | None


def count_cuts(scene: Scene, side_m: int) -> tuple[int, int]:
    """Return the rows and columns of samples that cover a scene."""
    return math.ceil(scene.height_m / side_m), math.ceil(scene.width_m / side_m)


def cut_scene(scene: Scene, side_m: int) -> Iterator[Cut]:
    """Yield the squares of a scene, row by row; each row is read once, over the whole width."""
    rows, columns = count_cuts(scene, side_m)
    if isinstance(scene, WalkedScene):
        scene.walk_down()
    for row in range(rows):
        strip_m: WindowM = (0, row * side_m, columns * side_m, side_m)
        strip, clouds = scene.read(strip_m), scene.cloud(strip_m)
        for column in range(columns):
            groups = {gsd: _square(pixels, column, side_m // gsd) for gsd, pixels in strip.items()}
            cloud = None if clouds is None else _square(clouds, column, side_m // 10)
            seen = valid(groups[min(groups)]).all(0)
            cover = None if cloud is None else float(_to_grid(cloud, seen.shape)[seen].mean()) if seen.any() else 0.0
            window: WindowM = (column * side_m, row * side_m, side_m, side_m)
            yield Cut(row, column, window, groups, cloud, float(seen.mean()), cover)


def _square(pixels: np.ndarray, column: int, side_px: int) -> np.ndarray:
    return np.ascontiguousarray(pixels[..., column * side_px : (column + 1) * side_px])


def _to_grid(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    factor = mask.shape[0] // shape[0]
    return mask[::factor, ::factor]


def check_side(side_px: int) -> int:
    """Return a sample's side in metres.

    Raises:
        ValueError: it is no multiple of 60 m.
    """
    side_m = side_px * 10
    if side_px <= 0 or side_m % ALIGN_M:
        raise ValueError(f"a side of {side_px} pixels is no multiple of 6")
    return side_m
