"""A scene cut to a box in degrees: the same interface over the part of its grid that holds the box."""

import math
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.warp import transform

from bandloom.errors import SceneError
from bandloom.shards.scenes import SceneOptions, open_scene
from bandloom.shards.scenes.scene import ALIGN_M, Scene, WindowM

if TYPE_CHECKING:
    from rasterio.crs import CRS

Box = tuple[float, float, float, float]  # west, south, east, north in degrees; west of 180 to east of it: west > east
_BESIDE = 0.1  # degrees: a scene's outline in degrees bulges less
_PLACES_A_SIDE = 33  # of the box's outline that are brought to the scene's coordinates


def parse_bbox(text: str) -> Box:
    """Read ``west,south,east,north`` in degrees; a box across the antimeridian has its west beyond its east.

    Raises:
        SceneError: it is no such box.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        west = south = east = north = float("nan")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90) or west == east:
        raise SceneError(f"--bbox {text!r} is not understood; write west,south,east,north in degrees.")
    return west, south, east, north


class CutScene:
    """Wraps a scene and shows what of it holds a box, in whole cells of 60 m; closing it closes the scene.

    A window that reaches over the cut's edge gives what the scene has there.
    """

    def __init__(self, scene: Scene, bbox: str) -> None:
        """Take a scene and ``west,south,east,north``.

        Raises:
            SceneError: the box is none, or the scene holds nothing of it.
        """
        box = parse_bbox(bbox)
        self._scene = scene
        self._x_m, self._y_m, self.width_m, self.height_m = _window(scene, box)
        grid = scene.transform
        self.name, self.sensor, self.crs, self.datetime = scene.name, scene.sensor, scene.crs, scene.datetime
        self.transform = Affine(grid.a, grid.b, grid.c + self._x_m, grid.d, grid.e, grid.f - self._y_m)
        self.provenance: dict[str, Any] = scene.provenance | {"bbox": list(box)}
        self.files = getattr(scene, "files", {})

    @property
    def footprint(self) -> Box:
        """West, south, east and north of the cut in degrees."""
        left, top = self.transform.c, self.transform.f
        lon, lat = _along(self.crs, "EPSG:4326", (left, top - self.height_m, left + self.width_m, top))
        return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())

    def read(self, window_m: WindowM) -> dict[int, np.ndarray]:
        """Return ``{gsd_m: (C, H, W)}`` uint16 DN of a window."""
        return self._scene.read(self._moved(window_m))

    def cloud(self, window_m: WindowM) -> np.ndarray | None:
        """Return ``(H10, W10)`` bool, True under cloud, or None when the source does not say."""
        return self._scene.cloud(self._moved(window_m))

    def _moved(self, window_m: WindowM) -> WindowM:
        x, y, width, height = window_m
        return x + self._x_m, y + self._y_m, width, height

    def close(self) -> None:
        """Close the scene."""
        self._scene.close()

    def __enter__(self) -> "CutScene":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_cut(path: str | Path, options: SceneOptions, bbox: str) -> CutScene:
    """Open what of a scene holds the box ``west,south,east,north``.

    Raises:
        SceneError: the scene cannot be read, the box is none, or the scene holds nothing of it.
    """
    parse_bbox(bbox)
    scene = open_scene(path, options)
    try:
        return CutScene(scene, bbox)
    except BaseException:
        scene.close()
        raise


def _window(scene: Scene, box: Box) -> WindowM:
    """Return the window of a scene that holds what the scene has of a box, in whole cells of 60 m."""
    none = SceneError(f"{scene.name} holds nothing of --bbox {','.join(f'{side:g}' for side in box)}; name its ground.")
    near = _near(box, scene.footprint)
    if near is None:
        raise none
    x, y = _along("EPSG:4326", scene.crs, near)
    columns, rows = x - scene.transform.c, scene.transform.f - y
    left, right = _cells(columns.min(), columns.max(), scene.width_m)
    top, bottom = _cells(rows.min(), rows.max(), scene.height_m)
    if left >= right or top >= bottom:
        raise none
    return left, top, right - left, bottom - top


def _cells(low: float, high: float, side_m: float) -> tuple[float, float]:
    """Return where the cells of 60 m that hold an interval begin and end, within the scene."""
    begin, end = math.floor(low / ALIGN_M) * ALIGN_M, math.ceil(high / ALIGN_M) * ALIGN_M
    return max(0.0, begin), min(side_m, end)


def _near(box: Box, ground: Box) -> Box | None:
    """Return what of a box lies on or just beside a ground, told from the ground's side of the antimeridian.

    What lies farther off can have no place in the ground's coordinates.
    """
    (west, south, east, north), (left, bottom, right, top) = box, ground
    east, right = east + 360 * (east < west), right + 360 * (right < left)
    for turn in (-360, 0, 360):
        if west + turn < right and left < east + turn and south < top and bottom < north:
            sides = max(west + turn, left - _BESIDE), min(east + turn, right + _BESIDE)
            return sides[0], max(south, bottom - _BESIDE), sides[1], min(north, top + _BESIDE)
    return None


def _along(source: "CRS | str", target: "CRS | str", box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return places along a box's outline in another coordinate system."""
    west, south, east, north = box
    lon, lat = np.linspace(west, east, _PLACES_A_SIDE), np.linspace(south, north, _PLACES_A_SIDE)
    xs = np.concatenate([lon, lon, np.full_like(lat, west), np.full_like(lat, east)])
    ys = np.concatenate([np.full_like(lon, south), np.full_like(lon, north), lat, lat])
    x, y = transform(source, target, xs.tolist(), ys.tolist())[:2]
    return np.array(x), np.array(y)
