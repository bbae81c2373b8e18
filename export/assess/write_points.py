"""Writes the points of a sample as GeoPackage, GeoJSON or CSV."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.warp import transform

from bandloom.export.assess.draw import Drawn
from bandloom.export.maps.feature_file import FeatureLayer, write_features
from bandloom.output import new_output

FORMATS = (".gpkg", ".geojson", ".csv")
TYPES = {"O": "string", "i": "int64", "f": "float64"}  # as Arrow calls them


def write_sample(path: Path, sample: Drawn) -> None:
    """Write a sample's points: in the map's coordinates as GeoPackage, else in longitude and latitude.

    Raises:
        OutputError: the file exists by now, or cannot be written.
    """
    if path.suffix.lower() == ".gpkg":
        _write_gpkg(path, sample)
        return
    writers = {".geojson": _write_geojson, ".csv": _write_csv}
    with new_output(path) as temporary:
        writers[path.suffix.lower()](temporary, sample)


def _write_gpkg(path: Path, sample: Drawn) -> None:
    import shapely  # pyright: ignore[reportMissingImports]

    columns = sample.columns()
    kinds = {name: TYPES[values.dtype.kind] for name, values in columns.items()}
    write_features(
        path,
        FeatureLayer("points", "Point", sample.grid.crs, kinds),
        [(np.asarray(shapely.to_wkb(shapely.points(sample.xy))), columns)],
    )


def _rows(sample: Drawn) -> list[dict[str, Any]]:
    lists = {name: values.tolist() for name, values in sample.columns().items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _lon_lat(sample: Drawn) -> np.ndarray:
    xs, ys = sample.xy.T.tolist()
    return np.stack(transform(sample.grid.crs, "EPSG:4326", xs, ys)[:2], axis=1)


def _write_geojson(path: Path, sample: Drawn) -> None:
    features = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": place}, "properties": row}
        for place, row in zip(_lon_lat(sample).tolist(), _rows(sample), strict=True)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}) + "\n")


def _write_csv(path: Path, sample: Drawn) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = _rows(sample)
        writer = csv.DictWriter(file, ["lon", "lat", *rows[0]])
        writer.writeheader()
        for (lon, lat), row in zip(_lon_lat(sample).tolist(), rows, strict=True):
            writer.writerow({"lon": lon, "lat": lat, **row})
