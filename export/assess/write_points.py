"""Writes the points of a sample as GeoPackage, GeoJSON or CSV."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.warp import transform

from bandloom.export.assess.draw import Drawn
from bandloom.export.maps.feature_file import FeatureLayer, write_features
from bandloom.files.output import new_output

FORMATS = (".gpkg", ".geojson", ".csv")
TYPES = {"O": "string", "i": "int64", "f": "float64"}  # as Arrow calls them


@dataclass(frozen=True)
class Points:
    """Points to write.

    Args:
        crs: of the places.
        xy: ``(P, 2)``.
        columns: by name ``(P,)``; None is an empty cell.
    """

    crs: CRS
    xy: np.ndarray
    columns: Mapping[str, np.ndarray]

    def rows(self) -> list[dict[str, Any]]:
        """Return the columns point by point."""
        lists = {name: values.tolist() for name, values in self.columns.items()}
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]

    def lon_lat(self) -> np.ndarray:
        """Return the places in degrees, ``(P, 2)``."""
        xs, ys = self.xy.T.tolist()
        return np.stack(transform(self.crs, "EPSG:4326", xs, ys)[:2], axis=1)


def write_sample(path: Path, sample: Drawn) -> None:
    """Write a sample's points, as :func:`write_points` does.

    Raises:
        OutputError: the file exists by now, or cannot be written.
    """
    write_points(path, Points(sample.grid.crs, sample.xy, sample.columns()))


def write_points(path: Path, points: Points) -> None:
    """Write points: in their own coordinates as GeoPackage, else in longitude and latitude.

    Raises:
        OutputError: the file exists by now, or cannot be written.
    """
    if path.suffix.lower() == ".gpkg":
        _write_gpkg(path, points)
        return
    writers = {".csv": _write_csv, ".geojson": _write_geojson}
    with new_output(path) as temporary:
        writers[path.suffix.lower()](temporary, points)


def _write_gpkg(path: Path, points: Points) -> None:
    import shapely  # pyright: ignore[reportMissingImports]

    kinds = {name: TYPES[values.dtype.kind] for name, values in points.columns.items()}
    write_features(
        path,
        FeatureLayer("points", "Point", points.crs, kinds),
        [(np.asarray(shapely.to_wkb(shapely.points(points.xy))), points.columns)],
    )


def _write_geojson(path: Path, points: Points) -> None:
    features = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": place}, "properties": row}
        for place, row in zip(points.lon_lat().tolist(), points.rows(), strict=True)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}) + "\n")


def _write_csv(path: Path, points: Points) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = points.rows()
        writer = csv.DictWriter(file, ["lon", "lat", *rows[0]])
        writer.writeheader()
        for (lon, lat), row in zip(points.lon_lat().tolist(), rows, strict=True):
            writer.writerow({"lon": lon, "lat": lat, **row})
