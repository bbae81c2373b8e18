"""Scenes held in memory: arrays of reflectance or digital numbers, with the interface that every scene reader has."""

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from bandloom.errors import SceneError
from bandloom.rasters.values import NODATA, reflectance_to_dn
from bandloom.sensors import Sensor, get_sensor
from bandloom.shards.scenes import open_scene
from bandloom.shards.scenes.grid import block_means
from bandloom.shards.scenes.scene import ALIGN_M, Scene, WindowM

Arrays = np.ndarray | Mapping[int, np.ndarray]
NOWHERE = (math.nan, math.nan, math.nan, math.nan)
Source = str | Path | Scene | Arrays


@dataclass
class ArrayScene:
    """A scene whose band groups lie in memory.

    Attributes:
        sensor: whose bands they are.
        groups: digital numbers ``{gsd_m: (C, H, W)}`` uint16, whole cells of 60 m.
        height_m: of what was given, before it was filled up to whole cells.
        width_m: likewise.
        crs: empty where nobody said where the pixels lie.
        transform: of the finest grid.
        clouds: ``(H10, W10)`` bool, True under cloud; None where nobody said.
    """

    sensor: Sensor
    groups: dict[int, np.ndarray]
    height_m: float
    width_m: float
    crs: CRS = field(default_factory=CRS)
    transform: Affine = field(default_factory=Affine.identity)
    name: str = "arrays"
    datetime: dt.datetime | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    clouds: np.ndarray | None = None

    @property
    def footprint(self) -> tuple[float, float, float, float]:
        """West, south, east and north in degrees; NaN where the place is not known."""
        if not self.crs:
            return NOWHERE
        left, top = self.transform * (0, 0)
        return transform_bounds(self.crs, "EPSG:4326", left, top - self.height_m, left + self.width_m, top)

    def read(self, window_m: WindowM) -> dict[int, np.ndarray]:
        """Return ``{gsd_m: (C, H, W)}`` uint16 of a window; what lies outside is 0."""
        return {gsd_m: _window(dn, [round(side / gsd_m) for side in window_m]) for gsd_m, dn in self.groups.items()}

    def cloud(self, window_m: WindowM) -> np.ndarray | None:
        """Return ``(H10, W10)`` bool of a window, True under cloud; None where the arrays came without clouds."""
        if self.clouds is None:
            return None
        return _window(self.clouds[None].astype(np.uint16), [round(side / 10) for side in window_m])[0] != 0

    def close(self) -> None:
        """Keep the arrays: they are the caller's."""

    def __enter__(self) -> "ArrayScene":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def array_scene(
    arrays: Arrays, sensor: Sensor | str, *, crs: CRS | str | None = None, transform: Affine | None = None
) -> ArrayScene:
    """Return a scene of arrays.

    Args:
        arrays: reflectance as floats ``(C, H, W)`` on the sensor's finest grid, the bands in the sensor's own order,
            NaN where nothing was measured (coarser bands are averaged over their own pixels, so repeated values stay
            what they are); or digital numbers by band group, ``{gsd_m: (C, H, W)}`` uint16, as ``Scene.read`` gives.
        sensor: a sensor, its name, or its YAML record.
        crs: the coordinate system in metres, where it is known.
        transform: of the finest grid, where it is known.

    Raises:
        SceneError: the type, the number of bands or the sizes do not fit the sensor.
    """
    sensor = get_sensor(sensor) if isinstance(sensor, str) else sensor
    finest_m = sensor.groups[0].gsd_m
    if isinstance(arrays, Mapping):
        groups, height, width = _checked_groups(arrays, sensor)
    else:
        groups, height, width = _native_groups(np.asarray(arrays), sensor)
    return ArrayScene(
        sensor,
        groups,
        height * finest_m,
        width * finest_m,
        CRS() if crs is None else CRS.from_user_input(crs),
        transform or Affine.scale(finest_m, -finest_m),
    )


def opener_of(source: Source, sensor: Sensor | str | None = None, **reading: Any) -> Callable[[], Scene]:
    """Return a function that opens one more handle of a path; a scene or arrays that are given stay the caller's own.

    Args:
        source: a path, a scene that was opened, or what :func:`array_scene` takes.
        sensor: the sensor, where the source does not say.
        reading: further arguments of :func:`bandloom.shards.scenes.open_scene`.

    Raises:
        SceneError: arrays without a sensor, or arrays that do not fit it.
    """
    if isinstance(source, str | Path):
        named = sensor.name if isinstance(sensor, Sensor) else sensor
        return partial(open_scene, source, sensor=named, **reading)
    if isinstance(source, np.ndarray | Mapping):
        if sensor is None:
            raise SceneError("arrays do not say whose bands they hold; pass sensor=, such as sensor='sentinel2-l2a'.")
        scene: Any = array_scene(source, sensor)
    else:
        scene = _Borrowed(source)
    return lambda: scene


class _Borrowed:
    """A scene that stays open when those who read it are done."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scene, name)

    def close(self) -> None: ...

    def __enter__(self) -> "_Borrowed":
        return self

    def __exit__(self, *exception: object) -> None: ...


def _native_groups(reflectance: np.ndarray, sensor: Sensor) -> tuple[dict[int, np.ndarray], int, int]:
    bands = [band for band in sensor.bands if band.slot]
    names = [band.name for band in bands]
    if reflectance.ndim != 3 or len(reflectance) != len(bands):
        raise SceneError(
            f"the array has the shape {reflectance.shape}; expected (bands, rows, columns) with the {len(bands)} bands"
            f" of {sensor.name!r}: {', '.join(names)}."
        )
    if not np.issubdtype(reflectance.dtype, np.floating):
        raise SceneError(
            f"the array holds {reflectance.dtype}, which does not say its scale; pass reflectance as floats, such as"
            " array / 10000.0, with NaN where nothing was measured."
        )
    height, width = reflectance.shape[1:]
    finest_m = sensor.groups[0].gsd_m
    cell = ALIGN_M // finest_m
    dn = np.pad(reflectance_to_dn(reflectance), [(0, 0), (0, -height % cell), (0, -width % cell)])
    groups = {}
    for group in sensor.groups:
        rows = [names.index(band.name) for band in group.bands]
        groups[group.gsd_m] = block_means(dn[rows], group.gsd_m // finest_m)
    return groups, height, width


def _checked_groups(arrays: Mapping[int, np.ndarray], sensor: Sensor) -> tuple[dict[int, np.ndarray], int, int]:
    wanted = {group.gsd_m: len(group.bands) for group in sensor.groups}
    given = {gsd_m: np.asarray(dn) for gsd_m, dn in arrays.items()}
    finest_m = min(wanted)
    if set(given) != set(wanted):
        raise SceneError(
            f"the arrays are groups of {sorted(given)} m; {sensor.name!r} has groups of {sorted(wanted)} m: pass these."
        )
    height, width = (side * finest_m for side in given[finest_m].shape[-2:])
    for gsd_m, dn in given.items():
        shape = (wanted[gsd_m], height // gsd_m, width // gsd_m)
        if dn.shape != shape or dn.dtype != np.uint16 or height % ALIGN_M or width % ALIGN_M:
            raise SceneError(
                f"the group of {gsd_m} m is {dn.dtype} {dn.shape}; expected uint16 {shape}, and sides that are whole"
                f" cells of {ALIGN_M} m, as Scene.read returns them."
            )
    return given, height // finest_m, width // finest_m


def _window(dn: np.ndarray, window: list[int]) -> np.ndarray:
    """Return ``(C, height, width)`` of a window in samples; beyond the array no data."""
    x, y, width, height = window
    out = np.full((len(dn), height, width), NODATA, np.uint16)
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + height, dn.shape[1]), min(x + width, dn.shape[2])
    if top < bottom and left < right:
        out[:, top - y : bottom - y, left - x : right - x] = dn[:, top:bottom, left:right]
    return out
