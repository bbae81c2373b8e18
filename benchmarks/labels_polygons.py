"""Reading 4,000 parcels onto a whole tile's 10 m pixels, beside one call of ``rasterio.features.rasterize``."""

import json
import os
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from rasterio import features
from rasterio.crs import CRS
from rasterio.warp import transform_geom

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.classes.taxonomy import get_taxonomy
from bandloom.shards.labels.open_labels import open_labels
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, LabelReading
from bandloom.shards.labels.vector_file import _read
from benchmarks.harness import Figure

SIDE_PX, PARCELS, CORNERS, TURNS = int(os.environ.get("BANDLOOM_SIDE_PX", "10980")), 4_000, 24, 5
LON_LAT = CRS.from_epsg(4326)


def run() -> list[Figure]:
    ground = Ground(CRS.from_epsg(32633), 499_980.0, 5_300_040.0, SIDE_PX, SIDE_PX, "tile")
    taxonomy = get_taxonomy("worldcover11")
    times: dict[str, list[float]] = {"ours": [], "burning": [], "theirs": [], "call": []}
    with tempfile.TemporaryDirectory() as folder:
        path = write_parcels(Path(folder) / "parcels.geojson", ground)
        for _ in range(TURNS):  # in turns, so that a busy minute hits both
            _read.cache_clear()
            began = time.perf_counter()
            problems = Problems()
            with closing(open_labels(path, ground, taxonomy, LabelReading(), problems)) as labels:
                placed_at = time.perf_counter()
                ours = labels.read(ground.whole_m)
            problems.raise_first()
            times["burning"].append(time.perf_counter() - placed_at)
            times["ours"].append(time.perf_counter() - began)
            began = time.perf_counter()
            shapes = placed(path, ground, {land_class.name: k for k, land_class in enumerate(taxonomy.classes)})
            called = time.perf_counter()
            shape = (ground.height, ground.width)
            theirs: Any = features.rasterize(shapes, shape, IGNORE_INDEX, transform=ground.transform, dtype="uint8")
            times["theirs"].append(time.perf_counter() - began)
            times["call"].append(time.perf_counter() - called)
            if (ours != theirs).sum() > 100:  # of 120 million: what lies on a line within rounding
                raise RuntimeError(f"{(ours != theirs).sum()} pixels differ")
    seconds = {name: min(time) for name, time in times.items()}
    note = f"{PARCELS} parcels of {CORNERS} corners in degrees, {SIDE_PX} px a side; file, classes and checks included"
    return [
        Figure(
            "labels_polygons whole reading",
            seconds["ours"],
            "s",
            "json, transform_geom and one rasterize call",
            seconds["theirs"],
            "<= 2",
            note,
        ),
        Figure(
            "labels_polygons burning alone",
            seconds["burning"],
            "s",
            "the rasterize call alone, its shapes ready in memory",
            seconds["call"],
            "<= 2",
            "pixels counted by whether they have a label",
        ),
    ]


def write_parcels(path: Path, ground: Ground) -> Path:
    """Write round parcels of 100 to 300 m all over the ground, as GeoJSON in degrees."""
    rng = np.random.default_rng(0)
    names = [land_class.name for land_class in get_taxonomy("worldcover11").classes]
    rows = []
    for k in range(PARCELS):
        x, y = ground.transform * rng.uniform(0, SIDE_PX, 2)
        angles = np.append(np.sort(rng.uniform(0, 2 * np.pi, CORNERS)), 0)
        angles[-1] = angles[0]
        radius_m = rng.uniform(100, 300)
        ring = np.column_stack([x + radius_m * np.cos(angles), y + radius_m * np.sin(angles)]).tolist()
        geometry = transform_geom(ground.crs, LON_LAT, {"type": "Polygon", "coordinates": [ring]}, precision=9)
        rows.append({"type": "Feature", "geometry": geometry, "properties": {"class": names[k % len(names)]}})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    return path


def placed(path: Path, ground: Ground, classes: dict[str, int]) -> list[tuple[Any, int]]:
    """Return shapes with their values in the ground's coordinates, as a person would write it."""
    rows = json.loads(path.read_text())["features"]
    moved: Any = transform_geom(LON_LAT, ground.crs, [row["geometry"] for row in rows])
    return [(shape, classes[row["properties"]["class"]]) for shape, row in zip(moved, rows, strict=True)]
