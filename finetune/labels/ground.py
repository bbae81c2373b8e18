"""Labels of a scene's ground, on the scene's own 10 m grid: from a mask of any grid, from polygons, from points."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from affine import Affine
from rasterio import features
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import Resampling, reproject, transform, transform_geom

from bandloom.errors import LabelError, MissingExtraError
from bandloom.finetune.labels.chips import read_csv
from bandloom.finetune.labels.problems import Problems
from bandloom.label_set import IGNORE_INDEX
from bandloom.taxonomy import Taxonomy

Overlap = Literal["last", "first", "error"]
Rows = tuple[list[tuple[Any, dict[str, Any]]], CRS]  # geometry and attributes of each feature
LON_LAT = CRS.from_epsg(4326)


@dataclass(frozen=True)
class Ground:
    """The 10 m grid of a scene."""

    crs: CRS
    x_m: float
    y_m: float
    width: int
    height: int

    @classmethod
    def of(cls, scene: Any) -> "Ground":
        """Return the grid of an open scene."""
        width, height = round(scene.width_m / 10), round(scene.height_m / 10)
        return cls(scene.crs, scene.transform.c, scene.transform.f, width, height)

    @property
    def transform(self) -> Affine:
        """From pixels to coordinates."""
        return Affine(10, 0, self.x_m, 0, -10, self.y_m)

    @property
    def nothing(self) -> np.ndarray:
        """A label raster without a label, ``(H, W)`` uint8."""
        return np.full((self.height, self.width), IGNORE_INDEX, np.uint8)


@dataclass(frozen=True)
class Feature:
    """One labelled geometry in geographic coordinates, or in ``crs``."""

    where: str
    geometry: Any
    label: str
    crs: CRS = LON_LAT


def from_mask(path: Path, ground: Ground, taxonomy: Taxonomy, problems: Problems) -> np.ndarray:
    """Return raster codes on the scene's grid, warped by nearest neighbour where the mask has another one."""
    codes = ground.nothing
    try:
        with rasterio.open(path) as raster:
            if raster.crs is None:
                raise LabelError("has no coordinate system; write one, or crop it to the scene.")
            values, nodata = raster.read(1), raster.nodata
            unknown = np.setdiff1d(
                np.unique(values),
                (*taxonomy.label_set.codes, *taxonomy.ignore, IGNORE_INDEX, *(() if nodata is None else (nodata,))),
            )
            if unknown.size:
                listed = ", ".join(f"{value:g}" for value in unknown[:8])
                raise LabelError(
                    f"holds {listed}, not in label set {taxonomy.id!r}; add the class or list it under ignore."
                )
            nothing = (*taxonomy.ignore, *(() if nodata is None else (nodata,)))
            known = np.where(np.isin(values, nothing), IGNORE_INDEX, values).astype(np.uint8)
            reproject(
                known,
                codes,
                src_transform=raster.transform,
                src_crs=raster.crs,
                src_nodata=IGNORE_INDEX,
                dst_transform=ground.transform,
                dst_crs=ground.crs,
                dst_nodata=IGNORE_INDEX,
                resampling=Resampling.nearest,
            )
    except (LabelError, RasterioError) as cause:
        problems.add(str(path), str(cause) if isinstance(cause, LabelError) else f"cannot be read ({cause}).")
        return ground.nothing
    if (codes == IGNORE_INDEX).all():
        problems.add(str(path), "labels nothing on the scene; check that they show the same ground.")
    return codes


def from_features(
    found: Iterable[Feature],
    ground: Ground,
    taxonomy: Taxonomy,
    problems: Problems,
    *,
    overlap: Overlap = "last",
    all_touched: bool = False,
) -> np.ndarray:
    """Burn geometries onto the scene's grid.

    Args:
        found: polygons or points; a point labels the one pixel it lies in.
        ground: the grid.
        taxonomy: finds classes by any word.
        problems: receives invalid geometries, unknown classes, overlaps.
        overlap: which of two geometries wins where both lie, or that it is an error.
        all_touched: label every pixel that a polygon touches, not those whose centre lies inside.
    """
    codes, burnt = ground.nothing, 0
    for feature in found:
        with problems.gather(feature.where):
            code = taxonomy.classes[taxonomy.find(feature.label)].code
            inside = _inside(feature, ground, all_touched)
            clash = inside & (codes != IGNORE_INDEX) & (codes != code)
            if clash.any() and overlap == "error":
                raise LabelError(
                    f"overlaps another class on {int(clash.sum())} pixels; choose --overlap last or first."
                )
            codes[inside & ~clash if overlap == "first" else inside] = code
            burnt += int(inside.sum())
    if not burnt and not problems.errors:
        problems.add("the labels", "lie nowhere on the scene; check their coordinate system and the scene.")
    return codes


def read_polygons(path: Path, attribute: str) -> Iterator[Feature]:
    """Yield the features of a GeoJSON, or with pyogrio of a GPKG or shapefile; ``attribute`` names the class.

    Raises:
        LabelError: it cannot be read, is no feature collection, or lacks the attribute.
    """
    read = _read_geojson if path.suffix.lower() in (".geojson", ".json") else _read_vector
    rows, crs = read(path)
    if not rows:
        raise LabelError(f"{path} holds no features.")
    for number, (geometry, properties) in enumerate(rows):
        if attribute not in properties:
            raise LabelError(
                f"feature {number} of {path} has no attribute {attribute!r} (it has"
                f" {', '.join(map(str, properties)) or 'none'}); name it with --attribute."
            )
        value = properties[attribute]
        if not isinstance(value, str | int | float | np.generic | None):
            raise LabelError(f"feature {number} of {path} has {attribute} = {value!r}; expected a word or a number.")
        yield Feature(f"{path.name} feature {number}", geometry, str(value), crs)


def read_points(path: Path, attribute: str) -> Iterator[Feature]:
    """Yield the rows of a CSV with the columns lon, lat and the class, in degrees.

    Raises:
        LabelError: a column is missing or a coordinate is no number in its range.
    """
    for line, row in enumerate(read_csv(path, ("lon", "lat", attribute)), 2):
        try:
            lon, lat = float(row["lon"] or ""), float(row["lat"] or "")
        except ValueError as cause:
            raise LabelError(f"{path} line {line}: {row['lon']!r}, {row['lat']!r} are no coordinates.") from cause
        if not (-180 <= lon <= 180 and -90 <= lat <= 90):
            raise LabelError(f"{path} line {line}: {lon}, {lat} are no degrees; expected lon -180..180, lat -90..90.")
        yield Feature(f"{path.name} line {line}", {"type": "Point", "coordinates": (lon, lat)}, row[attribute] or "")


def _inside(feature: Feature, ground: Ground, all_touched: bool) -> np.ndarray:
    """Return which pixels a geometry covers.

    Raises:
        LabelError: it is no valid geometry, or has coordinates that are no numbers.
    """
    try:
        shape = _on_grid(feature, ground)
        return features.geometry_mask(
            [shape], (ground.height, ground.width), ground.transform, all_touched, invert=True
        )
    except LabelError:
        raise
    except Exception as cause:  # GDAL and PROJ raise many kinds, none of them public
        raise LabelError(f"has no valid geometry ({cause!r}); mend or remove it.") from cause


def _on_grid(feature: Feature, ground: Ground) -> Any:
    geometry = feature.geometry
    if not geometry or not features.is_valid_geom(geometry):
        raise LabelError("has no valid geometry; mend or remove it.")
    _check_numbers(feature)
    if geometry["type"] == "Point":
        xs, ys, *_ = transform(feature.crs, ground.crs, [geometry["coordinates"][0]], [geometry["coordinates"][1]])
        column, row = (xs[0] - ground.x_m) // 10, (ground.y_m - ys[0]) // 10
        middle = ground.x_m + column * 10 + 5, ground.y_m - row * 10 - 5
        return {"type": "Point", "coordinates": middle}
    try:
        return transform_geom(feature.crs, ground.crs, geometry)
    except (RasterioError, ValueError, TypeError) as cause:
        raise LabelError(f"cannot be brought to {ground.crs} ({cause}).") from cause


def _check_numbers(feature: Feature) -> None:
    """Check that coordinates are finite, and degrees where they should be.

    Raises:
        LabelError: the first that is not.
    """
    for x, y in _pairs(feature.geometry.get("coordinates", ())):
        if not (np.isfinite(x) and np.isfinite(y)):
            raise LabelError(f"has the coordinates {x}, {y}, which are no numbers.")
        if feature.crs.is_geographic and not (-180 <= x <= 180 and -90 <= y <= 90):
            raise LabelError(
                f"has the coordinates {x}, {y}, which are no degrees: longitude comes first, and metres"
                " need a coordinate system in the file."
            )


def _pairs(coordinates: Any) -> Iterator[tuple[float, float]]:
    if coordinates and not isinstance(coordinates[0], list | tuple):
        yield float(coordinates[0]), float(coordinates[1])
        return
    for part in coordinates:
        yield from _pairs(part)


def _read_geojson(path: Path) -> Rows:
    try:
        record = json.loads(path.read_text())
        rows = [(each["geometry"], each.get("properties") or {}) for each in record["features"]]
        named = (record.get("crs") or {}).get("properties", {}).get("name")
        return rows, CRS.from_user_input(named) if named else LON_LAT
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RasterioError) as cause:
        raise LabelError(f"{path} is no GeoJSON feature collection ({cause!r}).") from cause


def _read_vector(path: Path) -> Rows:
    try:
        import shapely  # pyright: ignore[reportMissingImports]
        from pyogrio import raw  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise MissingExtraError(f"pyogrio (for {path.suffix} files)", "vector") from cause
    read: Any = raw.read
    try:
        meta, _, shapes, columns = read(path)
    except Exception as cause:
        raise LabelError(f"{path} cannot be read as vector data ({cause}).") from cause
    if not meta["crs"]:
        raise LabelError(f"{path} has no coordinate system; write one.")
    geometries = [None if each is None else json.loads(shapely.to_geojson(shapely.from_wkb(each))) for each in shapes]
    rows = zip(geometries, zip(*columns, strict=True), strict=True)
    found = [(geometry, dict(zip(meta["fields"], values, strict=True))) for geometry, values in rows]
    return found, CRS.from_user_input(meta["crs"])
