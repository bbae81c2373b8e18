"""A file of points with all its columns, to be filled in: CSV, GeoJSON or GeoPackage, written back atomically."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.errors import LabelError, MissingExtraError, OutputError
from bandloom.files.csv_rows import NamedRows, decimal
from bandloom.files.output import new_output
from bandloom.files.points_gpkg import changed_gpkg
from bandloom.files.vector_errors import why_unreadable
from bandloom.rasters.projected import projected

POINT_SUFFIXES = (".gpkg", ".geojson", ".csv")
LON_LAT = "EPSG:4326"
UNSURE = "unsure"  # the column that marks points about which their labeller was not sure


def is_marked(value: Any) -> bool:
    """Tell whether a cell of a file says yes: 1, true, yes, in any case and as any type."""
    if value is None or value != value:
        return False
    return str(value).strip().casefold().removesuffix(".0") in ("1", "true", "yes", "t", "y")


@dataclass
class PointsFile:
    """Points in the order of their file.

    Args:
        path: the file.
        places: ``(P, 2)`` longitude and latitude.
        columns: what is told of each point, by column; of a CSV as text.
        source: what is kept of the file: GeoJSON's record, or GeoPackage's layer, identifiers and columns as read.
    """

    path: Path
    places: np.ndarray
    columns: dict[str, list[Any]]
    source: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.places)

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the points with their columns as they are now, in the form that they were read in.

        Raises:
            OutputError: the ending is another, or the file cannot be written.
        """
        if path.suffix.lower() != self.path.suffix.lower():
            raise OutputError(f"{path} ends otherwise than {self.path}; give it the ending {self.path.suffix}.")
        writers = {".csv": _as_csv, ".geojson": _as_geojson, ".gpkg": _as_gpkg}
        content = writers[path.suffix.lower()](self)
        with new_output(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(content)
        if "read" in self.source and path == self.path:
            self.source["read"] = {name: list(cells) for name, cells in self.columns.items()}


def read_points_file(path: Path) -> PointsFile:
    """Read points and all their columns.

    Raises:
        LabelError: the file is missing, of another kind, damaged, or holds what is no point.
        MissingExtraError: pyogrio is not installed, which GeoPackage needs.
    """
    readers = {".csv": _from_csv, ".geojson": _from_geojson, ".gpkg": _from_gpkg}
    if path.suffix.lower() not in readers:
        raise LabelError(f"{path} is no file of points; name one that ends in {', '.join(POINT_SUFFIXES)}.")
    if not path.is_file():
        raise LabelError(f"{path} does not exist; bandloom assess sample draws points of a map.")
    try:
        points = readers[path.suffix.lower()](path)
    except csv.Error as cause:
        raise LabelError(f"{path} cannot be read as points: {cause}; mend it, or draw them anew.") from cause
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as cause:
        raise LabelError(f"{path} cannot be read as points ({cause!r}); draw them anew, or mend it.") from cause
    if not len(points):
        raise LabelError(f"{path} holds no points.")
    if not np.isfinite(points.places).all() or (np.abs(points.places) > (360, 90)).any():
        raise LabelError(f"{path} holds places that are no degrees of longitude and latitude; mend its columns.")
    return points


def _from_csv(path: Path) -> PointsFile:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = NamedRows(file)
        reader.require_once(*dict.fromkeys(reader.names))
        if missing := [name for name in ("lon", "lat") if name not in reader.names]:
            raise csv.Error(f"no column {missing[0]!r}; its first line names {', '.join(reader.names) or 'nothing'}")
        rows = [row for _, row in reader]
    columns = {name: [row[name] for row in rows] for name in reader.names}
    places = [(decimal(lon), decimal(lat)) for lon, lat in zip(columns["lon"], columns["lat"], strict=True)]
    return PointsFile(path, np.array(places).reshape(-1, 2), columns)


def _as_csv(points: PointsFile) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(points.columns)
    writer.writerows(
        ["" if cell is None else cell for cell in row] for row in zip(*points.columns.values(), strict=True)
    )
    return text.getvalue().encode()


def _from_geojson(path: Path) -> PointsFile:
    record = json.loads(path.read_text(encoding="utf-8-sig"))
    features = record["features"]
    if record.get("crs"):
        raise ValueError("a coordinate system of its own; GeoJSON is in degrees")
    places = [_point(feature["geometry"]) for feature in features]
    names = dict.fromkeys(name for feature in features for name in feature["properties"] or {})
    columns = {name: [(feature["properties"] or {}).get(name) for feature in features] for name in names}
    return PointsFile(path, np.array(places, float).reshape(-1, 2), columns, record)


def _point(geometry: dict[str, Any]) -> Sequence[float]:
    if geometry["type"] != "Point":
        raise ValueError(f"a {geometry['type']}, where points are wanted")
    return geometry["coordinates"][:2]


def _as_geojson(points: PointsFile) -> bytes:
    rows = [dict(zip(points.columns, row, strict=True)) for row in zip(*points.columns.values(), strict=True)]
    features = [feature | {"properties": row} for feature, row in zip(points.source["features"], rows, strict=True)]
    return (json.dumps(points.source | {"features": features}) + "\n").encode()


def _from_gpkg(path: Path) -> PointsFile:
    try:
        import pyogrio  # pyright: ignore[reportMissingImports]
        import shapely  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as cause:
        raise MissingExtraError(f"{cause.name} (for .gpkg files)", "vector") from cause
    library: Any = pyogrio
    try:
        return _from_ogr(path, library, shapely)
    except library.errors.DataSourceError as cause:
        raise LabelError(f"{path} {why_unreadable(path, cause)}.") from cause


def _from_ogr(path: Path, library: Any, shapely: Any) -> PointsFile:
    layers = [str(name) for name, kind in library.list_layers(path) if kind is not None]
    if len(layers) != 1:
        raise ValueError(f"{len(layers)} layers, where one is wanted")
    meta, fids, shapes, values = library.raw.read(path, layer=layers[0], force_2d=True, return_fids=True)
    xs, ys = shapely.get_coordinates(shapely.from_wkb(shapes)).T
    if len(xs) != len(shapes):
        raise ValueError("features that are no single points")
    lons, lats = projected(meta["crs"], LON_LAT, xs, ys)
    columns = {str(name): list(held) for name, held in zip(meta["fields"], values, strict=True)}
    source = {"layer": layers[0], "fids": fids, "read": {name: list(held) for name, held in columns.items()}}
    return PointsFile(path, np.stack([lons, lats], axis=1), columns, source)


def _as_gpkg(points: PointsFile) -> bytes:
    source = points.source
    return changed_gpkg(points.path, source["layer"], source["fids"], source["read"], points.columns)
