"""Labels drawn as polygons or points (GeoJSON, GeoPackage, shapefile), burnt to a scene's 10 m pixels by windows."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from affine import Affine
from rasterio import features
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_geom

from bandloom.errors import LabelError, MissingExtraError
from bandloom.label_set import IGNORE_INDEX, LabelSet
from bandloom.shards.scenes import Scene, WindowM

GEOJSON_SUFFIXES = (".geojson", ".json")
VECTOR_SUFFIXES = (*GEOJSON_SUFFIXES, ".gpkg", ".shp")
DEFAULT_FIELD = "class"
_GSD_M = 10
_LON_LAT = CRS.from_epsg(4326)


@dataclass(frozen=True)
class _Shape:
    """One labelled geometry in the scene's coordinates, with its bounds: west, south, east, north."""

    geometry: Any
    index: int
    bounds: tuple[float, float, float, float]


class LabelPolygons:
    """Geometries with classes on a scene's ground, read by windows; of two that overlap the later counts."""

    def __init__(
        self, path: Path, scene: Scene, label_set: LabelSet, field: str = DEFAULT_FIELD, *, own: bool = False
    ) -> None:
        """Read ``path`` and bring it to the scene's coordinates.

        Args:
            path: the file; a GeoJSON without a coordinate system is in degrees.
            scene: whose ground to label.
            label_set: finds a class by its name or its code.
            field: the attribute that holds it.
            own: the file is of this scene alone, and must lie on it.

        Raises:
            LabelError: it cannot be read, has an unknown class or an invalid geometry, or lies elsewhere.
        """
        self._corner = scene.transform.c, scene.transform.f
        self._size_px = round(scene.height_m / _GSD_M), round(scene.width_m / _GSD_M)
        rows, crs = _read(path, path.stat().st_mtime_ns)
        bounds = (self._corner[0], self._corner[1] - scene.height_m, self._corner[0] + scene.width_m, self._corner[1])
        found = [_shape(path, k, row, crs, scene.crs, label_set, field) for k, row in enumerate(rows)]
        self._shapes = [shape for shape in found if _meet(shape.bounds, bounds)]
        if own and not self._shapes:
            raise LabelError(f"{path} labels nothing on scene {scene.name}; check its coordinate system and its place.")

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` uint8 class indices of a window; a pixel has the class that its centre lies in."""
        x, y, width, height = window_m
        west, north = self._corner[0] + x, self._corner[1] - y
        bounds = (west, north - height, west + width, north)
        shape = round(height / _GSD_M), round(width / _GSD_M)
        burnt = [(each.geometry, each.index) for each in self._shapes if _meet(each.bounds, bounds)]
        if not burnt:
            return np.full(shape, IGNORE_INDEX, np.uint8)
        grid = Affine(_GSD_M, 0, west, 0, -_GSD_M, north)
        labels: Any = features.rasterize(burnt, shape, IGNORE_INDEX, transform=grid, dtype="uint8")
        labels[max(0, self._size_px[0] - round(y / _GSD_M)) :] = IGNORE_INDEX  # beyond the scene's edges
        labels[:, max(0, self._size_px[1] - round(x / _GSD_M)) :] = IGNORE_INDEX
        return labels

    def __enter__(self) -> "LabelPolygons":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


def _shape(
    path: Path, number: int, row: tuple[Any, dict[str, Any]], crs: CRS, to: CRS, label_set: LabelSet, field: str
) -> _Shape:
    geometry, attributes = row
    where = f"feature {number} of {path}"
    if field not in attributes:
        held = ", ".join(map(str, attributes)) or "none"
        raise LabelError(f"{where} has no attribute {field!r} (it has {held}); name the class's with --label-field.")
    index = _index(attributes[field], label_set, where)
    try:
        if not geometry or not features.is_valid_geom(geometry):
            raise LabelError(f"{where} has no valid geometry; mend or remove it.")
        placed = transform_geom(crs, to, geometry)
        bounds = features.bounds(placed)
    except LabelError:
        raise
    except Exception as cause:  # GDAL and PROJ raise many kinds, none of them public
        raise LabelError(f"{where} has no valid geometry ({cause!r}); mend or remove it.") from cause
    if not np.isfinite(bounds).all() or (crs == _LON_LAT and not _are_degrees(features.bounds(geometry))):
        raise LabelError(f"{where} has coordinates that are no degrees; write the file's coordinate system into it.")
    return _Shape(placed, index, bounds)


def _index(value: Any, label_set: LabelSet, where: str) -> int:
    """Return the class that an attribute names, by name or by code."""
    text = str(value).strip()
    by_name = {name.lower(): index for index, name in enumerate(label_set.names)}
    by_code = {str(code): index for index, code in enumerate(label_set.codes)}
    index = by_name.get(text.lower(), by_code.get(text.removesuffix(".0")))
    if index is None:
        raise LabelError(f"{where} is of the class {text!r}, not in label set {label_set.name!r}; add it there.")
    return index


@functools.lru_cache(maxsize=4)
def _read(path: Path, changed_ns: int) -> tuple[list[tuple[Any, dict[str, Any]]], CRS]:
    """Return the geometry and attributes of every feature, and their coordinate system; one file may label all."""
    rows, crs = (_read_geojson if path.suffix.lower() in GEOJSON_SUFFIXES else _read_vector)(path)
    if not rows:
        raise LabelError(f"{path} holds no features.")
    return rows, crs


def _read_geojson(path: Path) -> tuple[list[tuple[Any, dict[str, Any]]], CRS]:
    try:
        record = json.loads(path.read_text())
        rows = [(each["geometry"], each.get("properties") or {}) for each in record["features"]]
        named = (record.get("crs") or {}).get("properties", {}).get("name")
        return rows, CRS.from_user_input(named) if named else _LON_LAT
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, RasterioError) as cause:
        raise LabelError(f"{path} is no GeoJSON feature collection ({cause!r}).") from cause


def _read_vector(path: Path) -> tuple[list[tuple[Any, dict[str, Any]]], CRS]:
    try:
        import shapely  # pyright: ignore[reportMissingImports]
        from pyogrio import raw  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise MissingExtraError(f"pyogrio (for {path.suffix} files)", "vector") from cause
    read: Any = raw.read
    try:
        meta, _, shapes, columns = read(path)
        geometries = [
            None if each is None else json.loads(shapely.to_geojson(shapely.from_wkb(each))) for each in shapes
        ]
    except Exception as cause:
        raise LabelError(f"{path} cannot be read as vector data ({cause}).") from cause
    if not meta["crs"]:
        raise LabelError(f"{path} has no coordinate system; write one.")
    values = zip(*columns, strict=True) if columns else [()] * len(geometries)
    attributes = (dict(zip(meta["fields"], each, strict=True)) for each in values)
    return list(zip(geometries, attributes, strict=True)), CRS.from_user_input(meta["crs"])


def _meet(one: tuple[float, float, float, float], two: tuple[float, float, float, float]) -> bool:
    return one[0] <= two[2] and two[0] <= one[2] and one[1] <= two[3] and two[1] <= one[3]


def _are_degrees(bounds: tuple[float, float, float, float]) -> bool:
    return bounds[0] >= -180 and bounds[2] <= 180 and bounds[1] >= -90 and bounds[3] <= 90
