"""Geometries with a class each, from GeoJSON, GeoPackage, shapefile, or a CSV of points."""

import functools
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from bandloom.errors import LabelError, MissingExtraError, nearest
from bandloom.files.csv_rows import decimal
from bandloom.files.vector_errors import why_unreadable
from bandloom.shards.labels.geometry import FlatGeometries, flatten
from bandloom.shards.labels.reading import LabelReading
from bandloom.shards.labels.table import read_csv

GEOJSON_SUFFIXES = (".geojson", ".json")
VECTOR_SUFFIXES = (*GEOJSON_SUFFIXES, ".gpkg", ".shp", ".csv")
LON_LAT = CRS.from_epsg(4326)
# other forms that carry outlines: converted by their owner, for each has rules of its own on places and columns
OTHER_VECTORS = (
    *(".fgb", ".kml", ".kmz", ".gml", ".gdb", ".zip", ".parquet", ".geoparquet", ".topojson", ".geojsonl"),
    *(".geojsons", ".ndjson", ".tab", ".mif", ".dxf", ".sqlite", ".xlsx", ".tsv", ".txt"),
)
NO_FIELD = ""  # of geometries that are read for themselves
_FILES_KEPT = 4


@dataclass(frozen=True)
class Drawing:
    """What a vector file holds: a GeoJSON geometry or None and the value of the class for each feature, in order."""

    path: Path
    geometries: list[Any]
    values: list[Any]
    crs: CRS
    lines: Sequence[int] = ()  # of a table: the line of each row

    @functools.cached_property
    def flat(self) -> FlatGeometries:
        """The coordinates of all geometries, checked once however many scenes the file labels."""
        return flatten(self.geometries, self.crs)

    def where(self, number: int) -> str:
        """Return how a person finds a feature."""
        if self.lines:
            return f"{self.path} line {self.lines[number]}"
        return f"feature {number} of {self.path}"


def read_drawing(path: Path, reading: LabelReading) -> Drawing:
    """Read a vector file; one that labels many scenes is read once.

    Raises:
        LabelError: it cannot be read, holds no features, lacks the attribute, or has several layers and none is named.
        MissingExtraError: pyogrio is not installed, which all but GeoJSON and CSV need.
    """
    try:
        path.stat()
    except OSError as cause:
        raise LabelError(f"{path} cannot be read ({cause.strerror}); check the path.") from cause
    drawing = _read(path, _version(path), reading.field, reading.layer, reading.encoding)
    if not drawing.geometries:
        raise LabelError(f"{path} holds no features.")
    return drawing


def _version(path: Path) -> tuple[Any, ...]:
    """Tell one state of a file, and of those beside a shapefile, from the next."""
    files = [path, *(path.with_suffix(suffix) for suffix in (".dbf", ".shx", ".prj", ".cpg"))]
    stats = [file.stat() for file in files if file.exists()]
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)


@functools.lru_cache(maxsize=_FILES_KEPT)
def _read(path: Path, version: tuple[Any, ...], field: str, layer: str | None, encoding: str | None) -> Drawing:
    suffix = path.suffix.lower()
    if layer is not None and suffix in (*GEOJSON_SUFFIXES, ".csv"):
        raise LabelError(f"{path} has no layers; leave out --label-layer.")
    if suffix == ".csv":
        return _read_points(path, field, encoding)
    if suffix in GEOJSON_SUFFIXES:
        return _read_geojson(path, field, encoding)
    return _read_ogr(path, field, layer, encoding)


def _read_points(path: Path, field: str, encoding: str | None) -> Drawing:
    geometries, values, lines = [], [], []
    for line, row in read_csv(path, ("lon", "lat", field), encoding):
        geometries.append({"type": "Point", "coordinates": [_degrees(row["lon"]), _degrees(row["lat"])]})
        values.append(row[field])
        lines.append(line)
    return Drawing(path, geometries, values, LON_LAT, lines)


def _degrees(text: str | None) -> float | str:
    try:
        return decimal(text or "")
    except ValueError:
        return text or "nothing"  # refused, with its line, where geometries are checked


def _read_geojson(path: Path, field: str, encoding: str | None) -> Drawing:
    try:
        record = json.loads(path.read_text(encoding=encoding or "utf-8-sig"))
        features = [record] if record.get("type") == "Feature" else record["features"]
        rows = [(feature["geometry"], feature.get("properties") or {}) for feature in features]
        names = {name: None for _, properties in rows for name in properties}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise LabelError(f"{path} is no GeoJSON feature collection ({cause!r}).") from cause
    if rows:
        _check_field(path, field, list(names))
    return Drawing(path, [g for g, _ in rows], [p.get(field) for _, p in rows], _crs_of(path, record.get("crs")))


def _crs_of(path: Path, named: Any) -> CRS:
    """Return the coordinate system of GeoJSON's old ``crs`` member; without one it is in degrees.

    Raises:
        LabelError: it names none that is known.
    """
    if named is None:
        return LON_LAT
    try:
        kind, properties = named["type"].lower(), named["properties"]
        return CRS.from_epsg(properties["code"]) if kind == "epsg" else CRS.from_user_input(properties["name"])
    except (KeyError, TypeError, ValueError, AttributeError, RasterioError) as cause:
        raise LabelError(
            f"{path} names a coordinate system that is not understood ({named!r}); write"
            ' {"type": "name", "properties": {"name": "EPSG:..."}}.'
        ) from cause


def _read_ogr(path: Path, field: str, layer: str | None, encoding: str | None) -> Drawing:
    try:
        import pyogrio  # pyright: ignore[reportMissingImports]
        import shapely  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise MissingExtraError(f"pyogrio (for {path.suffix} files)", "vector") from cause
    library: Any = pyogrio
    _check_shapefile(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # measures left out, guesses at encodings: none changes a place or a class
            layer = _layer(path, layer, library.list_layers(path))
            names = list(library.read_info(path, layer=layer, encoding=encoding)["fields"])
            _check_field(path, field, names)
            columns = [] if field == NO_FIELD else [field]
            meta, _, shapes, held = library.raw.read(
                path, layer=layer, encoding=encoding, columns=columns, force_2d=True
            )
            values = held[0] if columns else [None] * len(shapes)
        geometries = [None if shape is None else _geojson(shapely.from_wkb(shape), shapely) for shape in shapes]
    except LabelError:
        raise
    except UnicodeError as cause:
        raise LabelError(
            f"the text of {path} cannot be read ({cause}); name its encoding with --label-encoding."
        ) from cause
    except Exception as cause:
        raise LabelError(f"{path} {why_unreadable(path, cause)}.") from cause
    if not meta["crs"]:
        raise LabelError(f"{path} has no coordinate system; write one, for a shapefile as NAME.prj beside it.")
    try:
        return Drawing(path, geometries, list(values), CRS.from_user_input(meta["crs"]))
    except RasterioError as cause:
        raise LabelError(f"{path} has a coordinate system that is not understood ({cause}); write another.") from cause


def _check_shapefile(path: Path) -> None:
    """Refuse a shapefile whose table has another number of rows than there are shapes: it is another file's.

    GDAL pairs the two by their order and passes over what has no partner.
    """
    places, table = path.with_suffix(".shx"), path.with_suffix(".dbf")
    if path.suffix.lower() != ".shp" or not (places.is_file() and table.is_file()):
        return
    with places.open("rb") as file, table.open("rb") as rows_file:
        file.seek(24)
        shapes = (2 * int.from_bytes(file.read(4), "big") - 100) // 8  # the file's length, in words of 16 bits
        rows = int.from_bytes(rows_file.read(8)[4:], "little")
    if shapes != rows:
        raise LabelError(
            f"{path} has {shapes} shapes and {table.name} {rows} rows, so the two are of different files; copy all"
            " files of the shapefile together again."
        )


def _geojson(shape: Any, shapely: Any) -> Any:
    return None if shape is None or shape.is_empty else json.loads(shapely.to_geojson(shape))


def _layer(path: Path, wanted: str | None, layers: np.ndarray) -> str:
    names = [str(name) for name, kind in layers if kind is not None]
    if wanted is not None and wanted not in names:
        raise LabelError(
            f"{path} has no layer {wanted!r} with geometries (it has {', '.join(names) or 'none'});"
            f" name one with --label-layer.{nearest(wanted, names)}"
        )
    if wanted is None and len(names) != 1:
        what = f"the layers {', '.join(names)}" if names else "no layer with geometries"
        raise LabelError(f"{path} holds {what}; name one with --label-layer.")
    return wanted or names[0]


def _check_field(path: Path, field: str, names: list[str]) -> None:
    if field != NO_FIELD and field not in names:
        held = ", ".join(map(str, names)) or "none"
        raise LabelError(
            f"{path} has no attribute {field!r} (it has {held}); name the class's with --label-field."
            f"{nearest(field, map(str, names))}"
        )
