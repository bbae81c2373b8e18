"""Two scenes of the same ground read as one: every band of the earlier date, then every band of the later one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from bandloom.errors import SceneError
from bandloom.export.bundle.record import DATES
from bandloom.export.bundle.tiling import CELL_M
from bandloom.export.predict.scene_mapper import check_sensor

if TYPE_CHECKING:
    import datetime as dt

    from rasterio.crs import CRS
    from rasterio.transform import Affine

    from bandloom.sensors import Sensor
    from bandloom.shards.scenes import Scene


@dataclass
class TwoDates:
    """A scene whose groups are ``{gsd_m: (2 C, H, W)}``, on the earlier one's grid and over its extent.

    What the later scene does not cover is absent there.
    """

    earlier: "Scene"
    later: "Scene"
    offset_m: tuple[float, float]  # from the later scene's upper-left corner to the earlier one's, east and south

    @property
    def name(self) -> str:
        """Both names."""
        return f"{self.earlier.name} to {self.later.name}"

    @property
    def sensor(self) -> "Sensor":
        """The sensor of both."""
        return self.earlier.sensor

    @property
    def crs(self) -> "CRS":
        """The coordinate system of both."""
        return self.earlier.crs

    @property
    def transform(self) -> "Affine":
        """The earlier scene's."""
        return self.earlier.transform

    @property
    def datetime(self) -> "dt.datetime | None":
        """When the later scene was taken: what has changed had changed by then."""
        return self.later.datetime

    @property
    def footprint(self) -> tuple[float, float, float, float]:
        """The earlier scene's."""
        return self.earlier.footprint

    @property
    def height_m(self) -> float:
        """The earlier scene's."""
        return self.earlier.height_m

    @property
    def width_m(self) -> float:
        """The earlier scene's."""
        return self.earlier.width_m

    @property
    def provenance(self) -> dict[str, Any]:
        """Where each date comes from."""
        return {name: dict(scene.provenance) for name, scene in zip(DATES, (self.earlier, self.later), strict=True)}

    def read(self, window_m: tuple[float, float, float, float]) -> dict[int, np.ndarray]:
        """Return both dates of a window, ``{gsd_m: (2 C, H, W)}`` uint16, the earlier one's bands first."""
        x, y, width, height = window_m
        before = self.earlier.read(window_m)
        after = self.later.read((x + self.offset_m[0], y + self.offset_m[1], width, height))
        return {gsd_m: np.concatenate([before[gsd_m], after[gsd_m]]) for gsd_m in before}

    def cloud(self, window_m: tuple[float, float, float, float]) -> np.ndarray | None:
        """Return where either date is known to be clouded."""
        x, y, width, height = window_m
        masks = [
            self.earlier.cloud(window_m),
            self.later.cloud((x + self.offset_m[0], y + self.offset_m[1], width, height)),
        ]
        known = [mask for mask in masks if mask is not None]
        return np.logical_or.reduce(known) if known else None

    def close(self) -> None:
        """Close both."""
        self.earlier.close()
        self.later.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_two_dates(open_earlier: "Callable[[], Scene]", open_later: "Callable[[], Scene]") -> TwoDates:
    """Open two scenes as one.

    Raises:
        SceneError: they are of different sensors or grids, or share no ground.
    """
    earlier = open_earlier()
    try:
        later = open_later()
        try:
            check_sensor(later.sensor, earlier.sensor, str(later.name))
            return TwoDates(earlier, later, _offset_m(earlier, later))
        except BaseException:
            later.close()
            raise
    except BaseException:
        earlier.close()
        raise


def _offset_m(earlier: "Scene", later: "Scene") -> tuple[float, float]:
    if earlier.crs != later.crs:
        raise SceneError(
            f"{later.name} lies in {later.crs}, {earlier.name} in {earlier.crs}; compare scenes of one grid, such"
            " as two dates of one Sentinel-2 tile."
        )
    east, south = earlier.transform.c - later.transform.c, later.transform.f - earlier.transform.f
    if east % CELL_M or south % CELL_M:
        raise SceneError(
            f"{later.name} begins {east:g} m west and {south:g} m north of {earlier.name}, which is no multiple of"
            f" {CELL_M} m; warp it onto the earlier scene's grid first (gdalwarp -te)."
        )
    if not (-later.width_m < -east < earlier.width_m and -later.height_m < -south < earlier.height_m):
        raise SceneError(f"{earlier.name} and {later.name} share no ground; name two scenes of the same place.")
    return east, south
