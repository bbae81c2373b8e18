"""Writes the points of a sample as GeoPackage, GeoJSON or CSV."""

import csv
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.warp import transform

from bandloom.errors import MissingExtraError, OutputError
from bandloom.export.assess.draw import Drawn
from bandloom.output import new_output, require_absent

FORMATS = (".gpkg", ".geojson", ".csv")


def require_writable(path: Path) -> None:
    """Refuse, before the map is read, what could not be written.

    Raises:
        OutputError: the file exists, or its ending is not known.
        MissingExtraError: pyogrio is not installed, which GeoPackage needs.
    """
    require_absent([path])
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"{path} ends in {path.suffix!r}; name a file that ends in {', '.join(FORMATS)}.")
    if path.suffix.lower() == ".gpkg" and importlib.util.find_spec("pyogrio") is None:
        raise MissingExtraError("pyogrio (for .gpkg files; .geojson and .csv need it not)", "vector")


def write_sample(path: Path, sample: Drawn) -> None:
    """Write a sample's points: in the map's coordinates as GeoPackage, else in longitude and latitude.

    Raises:
        OutputError: the file exists by now, or cannot be written.
    """
    writers = {".gpkg": _write_gpkg, ".geojson": _write_geojson, ".csv": _write_csv}
    with new_output(path) as temporary:
        writers[path.suffix.lower()](temporary, sample)


def _write_gpkg(path: Path, sample: Drawn) -> None:
    import shapely  # pyright: ignore[reportMissingImports]
    from pyogrio import raw  # pyright: ignore[reportMissingImports]

    columns, held = sample.columns(), io.BytesIO()  # GDAL wants a name that ends in .gpkg
    points: Any = shapely.to_wkb(shapely.points(sample.xy))
    raw.write(
        held,
        points,
        list(columns.values()),
        list(columns),
        driver="GPKG",
        layer="points",
        geometry_type="Point",
        crs=sample.grid.crs.to_wkt(),
    )
    path.write_bytes(held.getvalue())


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
