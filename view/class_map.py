"""A class map for the page: names, colours, areas, and the class at a place."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from bandloom.classes.colour_vision import alike
from bandloom.errors import SceneError
from bandloom.rasters.cut_short import open_whole
from bandloom.rasters.footprint import footprint
from bandloom.rasters.projected import projected
from bandloom.rasters.web_tiles import view_bounds
from bandloom.view.headline import about, title_of


@dataclass(frozen=True)
class MapClass:
    """One class of a map and how much ground it covers."""

    value: int
    name: str
    colour: str
    pixels: int
    hectares: float | None  # None where the map's grid is not in metres


class ClassMap:
    """A GeoTIFF whose first band holds class codes: a map, or what changed between two."""

    dtypes: tuple[str, ...] = ("uint8",)
    nodata: float
    classes: list[MapClass]

    def __init__(self, path: Path) -> None:
        """Open the map at ``path``.

        Raises:
            SceneError: it is missing, no raster, has no coordinate system, or is no map of classes.
        """
        self.path = path
        if not path.is_file():
            what = "is a folder; name the MAP.tif in it" if path.is_dir() else "does not exist"
            raise SceneError(f"the map {path} {what}; bandloom predict makes one.")
        try:
            with open_whole(path) as source:
                if source.crs is None:
                    raise SceneError(f"{path} has no coordinate system; a map on a page needs one.")
                if source.dtypes[0] not in self.dtypes or (source.count != 1 and "CLASSES" not in source.tags()):
                    held = f"{source.count} bands of {source.dtypes[0]}"
                    raise SceneError(f"{path} has {held}; a map of classes has one band of uint8.")
                self.crs, self.transform, self.shape = source.crs, source.transform, source.shape
                self.bounds = view_bounds(footprint(source.crs, source.transform, source.shape))
                self.tags: dict[str, str] = source.tags()
                self.title = title_of(self.tags, source.descriptions[0], path.stem)
                self._read(source)
        except RasterioError as cause:
            raise SceneError(f"{path} cannot be read as a raster ({cause}); name a GeoTIFF.") from cause
        self.scene_bands = _listed(self.tags.get("SCENE_BANDS", ""))
        self.mosaic_bands = _bands_of_maps(self.tags.get("MOSAIC", ""))
        confidence = path.with_suffix(".confidence.tif")
        self.confidence = confidence if confidence.is_file() else None

    def _read(self, source: Any) -> None:
        """Read what the pixels mean, and how many there are of each class."""
        self.nodata = int(source.nodata) if source.nodata is not None else 255
        self.classes = _classes(source, int(self.nodata))

    def codes(self, pixels: np.ndarray) -> np.ndarray:
        """Return the entry of :meth:`palette` of each pixel, uint8."""
        return pixels

    def keys(self, pixels: np.ndarray) -> np.ndarray:
        """Return the class of each pixel."""
        return pixels

    def palette(self, shown: set[int] | None = None) -> np.ndarray:
        """Return ``(256, 4)`` uint8 colours of codes; what is not ``shown`` is clear (None: all are)."""
        table = np.zeros((256, 4), np.uint8)
        for land_class in self.classes:
            if shown is None or land_class.value in shown:
                table[land_class.value] = [*(int(land_class.colour[i : i + 2], 16) for i in (1, 3, 5)), 255]
        return table

    def at(self, longitude: float, latitude: float) -> dict[str, Any] | None:
        """Return the class and, where it is known, the confidence in percent at a place; None outside."""
        where = place_of(longitude, latitude, self.crs, self.transform, self.shape)
        if where is None:
            return None
        code = int(pixel_at(self.path, *where)[0])
        hit = next((land_class for land_class in self.classes if land_class.value == code), None)
        answer: dict[str, Any] = {
            "value": code,
            "name": hit.name if hit else "no data",
            "colour": hit.colour if hit else None,
        }
        if self.confidence is not None and hit:
            answer["confidence_percent"] = int(pixel_at(self.confidence, *where)[0])
        return answer

    def record(self) -> dict[str, Any]:
        """Return what the page needs to know, as JSON types."""
        return {
            "name": self.path.stem,
            "title": self.title,
            "about": about(self.tags, self.path.name),
            "bounds": list(self.bounds),
            "classes": [vars(land_class) for land_class in self.classes],
            "alike": self.alike(),
        }

    def alike(self) -> list[str]:
        """Return the pairs of classes on this map whose colours are hard to tell apart, the nearest first."""
        present = [land_class for land_class in self.classes if land_class.pixels]
        return list(map(str, alike([one.name for one in present], [one.colour for one in present])))


def place_of(longitude: float, latitude: float, crs: Any, grid: Any, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Return the row and column of a place on a grid, or None outside of it."""
    turns = [(longitude + 180) % 360 - 180 + 360 * turn for turn in (0, -1, 1)]  # grids in degrees may begin anywhere
    for x, y in zip(*projected("EPSG:4326", crs, turns, [latitude] * 3), strict=True):
        if not np.isfinite([x, y]).all():
            continue
        column, row = ~grid * (x, y)
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            return int(row), int(column)
    return None


def _bands_of_maps(text: str) -> list[list[dict[str, Any]]]:
    """Return the bands of the scene of each map of a mosaic, in the order in which they are asked for a pixel."""
    try:
        maps = json.loads(text)["maps"]
        return [bands if isinstance(bands := one.get("bands"), list) else [] for one in maps]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _listed(text: str) -> list[dict[str, Any]]:
    """Return the bands of the scene that was mapped, as the map names them; none where it does not."""
    try:
        told = json.loads(text or "[]")
        return [band for band in told if band["slot"] and band["name"] and band["centre_nm"] > 0]
    except (ValueError, TypeError, KeyError):
        return []


def pixel_at(path: Path, row: int, column: int) -> np.ndarray:
    """Return the bands of one pixel of a raster."""
    with rasterio.open(path) as source:
        window = rasterio.windows.Window(column, row, 1, 1)  # type: ignore[call-arg]
        return source.read(window=window)[:, 0, 0]


def _classes(source: Any, nodata: int) -> list[MapClass]:
    counts = np.zeros(256, np.int64)
    for _, window in source.block_windows(1):
        counts += np.bincount(source.read(1, window=window).ravel(), minlength=256)
    pixel_ha = abs(source.transform.a * source.transform.e) / 1e4 if source.crs.is_projected else None
    named = {land_class["value"]: land_class for land_class in json.loads(source.tags().get("CLASSES", "[]"))}
    try:
        table = source.colormap(1)
    except ValueError:
        table = {}
    classes = []
    for value in sorted({*named, *np.flatnonzero(counts).tolist()} - {nodata}):
        colour = named.get(value, {}).get("colour") or "#{:02x}{:02x}{:02x}".format(*table.get(value, (128,) * 3)[:3])
        name = named.get(value, {}).get("name") or f"class {value}"
        pixels = int(counts[value])
        classes.append(MapClass(value, name, colour, pixels, None if pixel_ha is None else round(pixels * pixel_ha, 2)))
    return classes
