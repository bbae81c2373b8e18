"""Polygons of a 4,000 x 4,000 map: time and memory beside ``rasterio.features.shapes`` written by pyogrio."""

import json
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from benchmarks.harness import Figure
from benchmarks.process_peak import run_bandloom, run_python

SIDE_PX = int(os.environ.get("BANDLOOM_SIDE_PX", "4000"))
MOST_MIB = 1024
NAMES = {code: f"class {code}" for code in range(1, 9)}
THEIRS = """
import numpy as np, pyogrio, rasterio, shapely
from rasterio import features
with rasterio.open({source!r}) as file:
    codes = file.read(1)
    if {least}:
        codes = features.sieve(codes, {least}, connectivity=4)
    found = features.shapes(codes, None, 4, file.transform)
    pairs = [(shapely.geometry.shape(shape), int(code)) for shape, code in found]
    crs = file.crs.to_wkt()
shapes = np.array([shape for shape, _ in pairs], object)
if {least}:
    shapes = shapely.coverage_simplify(shapes, 10.0)
pyogrio.raw.write({out!r}, shapely.to_wkb(shapes), [np.array([code for _, code in pairs])], ["code"],
    geometry_type="Polygon", crs=crs)
"""


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        source = write_ground(place / "map.tif", SIDE_PX)
        plain = run_bandloom("polygons", source, "--out", place / "plain.gpkg", "--least-ha", 0, "--smooth", 0)
        smooth = run_bandloom("polygons", source, "--out", place / "smooth.gpkg")
        theirs = [
            run_python(THEIRS.format(source=str(source), out=str(place / f"{pixels}.gpkg"), least=pixels))
            for pixels in (0, 25)
        ]
    size = f"{SIDE_PX} x {SIDE_PX} pixels of 8 classes"
    note = f"{size}; read, cut into polygons and written as GeoPackage, imports included"
    call = "rasterio.features.shapes, written by pyogrio"
    return [
        Figure("polygons of pixels", plain.seconds, "s", call, theirs[0].seconds, "", note),
        Figure("polygons of pixels, memory", plain.mib, "MiB", call, theirs[0].mib, "", note),
        Figure(
            "polygons smoothed",
            smooth.seconds,
            "s",
            "sieve, shapes and coverage_simplify of the whole map",
            theirs[1].seconds,
            "",
            f"{note}; least area 0.25 ha; the others' corners do not meet, so what they simplify comes apart",
        ),
        Figure("polygons smoothed, memory", smooth.mib, "MiB", "the limit", MOST_MIB, "<= 1", note),
    ]


def write_ground(path: Path, side: int, seed: int = 0) -> Path:
    """Write a map as classifiers make them: patches at several scales with ragged edges, and pixels strewn in."""
    rng = np.random.default_rng(seed)
    best, codes = np.full((side, side), -np.inf, np.float32), np.zeros((side, side), np.uint8)
    for code in NAMES:
        score = sum(_rough(rng, side, cell) * weight for cell, weight in ((200, 1.0), (40, 0.6), (12, 0.35)))
        score += rng.normal(0, 0.12, (side, side)).astype(np.float32)
        codes[score > best] = code
        np.maximum(best, score, out=best)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8", "nodata": 255}
    grid = Affine(10, 0, 600_000, 0, -10, 1_500_000)
    with (
        warnings.catch_warnings(),
        rasterio.open(path, "w", **profile, crs="EPSG:32648", transform=grid, tiled=True, compress="deflate") as file,
    ):
        file.write(codes, 1)
        file.update_tags(CLASSES=json.dumps([{"value": code, "name": name} for code, name in NAMES.items()]))
    return path


def _rough(rng: np.random.Generator, side: int, cell: int) -> np.ndarray:
    """Return a smooth random field, drawn on cells and interpolated between them."""
    knots = rng.normal(size=(side // cell + 2, side // cell + 2)).astype(np.float32)
    place = np.arange(side) / cell
    low, share = place.astype(int), (place % 1).astype(np.float32)
    rows = knots[low] * (1 - share[:, None]) + knots[low + 1] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share
