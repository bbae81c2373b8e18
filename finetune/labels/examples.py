"""Example labels: one synthetic ground, labelled in every supported form, to copy from; the tutorial runs on them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml
from rasterio import features
from rasterio.transform import from_origin
from rasterio.warp import transform, transform_geom

from bandloom.classes.label_set import LabelSet
from bandloom.files.output import new_output
from bandloom.rasters.values import OFFSET
from bandloom.shards.synth import SENSOR, SyntheticScene, label_set, synthesise
from bandloom.shards.synth.write import place, write_scene

SIDE_PX, CHIP_PX, SCENES, SEED = 240, 24, 2, 5
LON_LAT = "EPSG:4326"
POLYGONS, POINTS = 60, 400  # at most; large enough that a split finds every role
FEWEST_PX = 20  # in a polygon
SHARE = 0.6  # a chip belongs to the class that covers this much of it
PATCHES_A_CLASS = 12
EUROSAT_ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")


def write_examples(out: Path) -> None:
    """Write a scene with its mask, polygons and points; chips in class folders and in a table; patches with JSON.

    ``OUT/label_set.yaml`` names the classes; ``OUT/scenes`` and ``OUT/labels`` are what ``shards build`` takes as they
    are; ``OUT/mask.tif``, ``polygons.geojson`` and ``points.csv`` label the first scene; ``OUT/chips/CLASS`` lies like
    EuroSAT (no band names, B8A last), and ``OUT/table.csv`` lists it; ``OUT/patches/PATCH`` lies like BigEarthNet (a
    raster a band at native sampling, and a JSON file).

    Raises:
        OutputError: ``out`` exists.
    """
    with new_output(out, folder=True) as folder:
        classes = label_set()
        (folder / "label_set.yaml").write_text(yaml.safe_dump(classes.to_dict(), sort_keys=False))
        (folder / "labels").mkdir()
        for seed in range(SEED, SEED + SCENES):
            scene = synthesise(SIDE_PX, seed, cloud_fraction=0.0)
            write_scene(folder, f"scene_{seed:05d}", scene, seed, 0)
            _write_chips(folder, scene, seed, classes)
            if seed == SEED:
                _write_mask(folder / "mask.tif", scene, seed)
                _write_polygons(folder / "polygons.geojson", scene, seed, classes)
                _write_points(folder / "points.csv", scene, seed, classes)
        _write_table(folder)


def _write_mask(path: Path, scene: SyntheticScene, seed: int) -> None:
    """Write the labels on a grid of their own, of 20 m."""
    epsg, x_m, y_m = place(seed)
    codes = scene.label[::2, ::2]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=len(codes),
        width=codes.shape[1],
        count=1,
        dtype="uint8",
        nodata=0,
        crs=f"EPSG:{epsg}",
        transform=from_origin(x_m, y_m, 20, 20),
    ) as raster:
        raster.write(codes, 1)


def _write_polygons(path: Path, scene: SyntheticScene, seed: int, classes: LabelSet) -> None:
    epsg, x_m, y_m = place(seed)
    found: Any = features.shapes(scene.label, transform=from_origin(x_m, y_m, 10, 10))
    names = dict(zip(classes.codes, classes.names, strict=True))
    rows = [
        {
            "type": "Feature",
            "geometry": transform_geom(f"EPSG:{epsg}", LON_LAT, shape),
            "properties": {"class": names[int(code)]},
        }
        for shape, code in found
        if _area_px(shape) >= FEWEST_PX
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows[:POLYGONS]}))


def _area_px(shape: dict[str, Any]) -> float:
    """Return the area within a polygon's outer ring, in pixels of 10 m (Gauss's shoelace)."""
    x, y = np.array(shape["coordinates"][0]).T
    return abs(float(x[:-1] @ y[1:] - x[1:] @ y[:-1])) / 2 / 100


def _write_points(path: Path, scene: SyntheticScene, seed: int, classes: LabelSet) -> None:
    epsg, x_m, y_m = place(seed)
    names = dict(zip(classes.codes, classes.names, strict=True))
    rows, columns = np.random.default_rng(seed).integers(0, SIDE_PX, (2, POINTS))
    xs, ys = (x_m + 10 * columns + 5).tolist(), (y_m - 10 * rows - 5).tolist()
    degrees: Any = transform(f"EPSG:{epsg}", LON_LAT, xs, ys)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lon", "lat", "class"])
        codes = scene.label[rows, columns].tolist()
        writer.writerows([lon, lat, names[code]] for lon, lat, code in zip(*degrees[:2], codes, strict=True))


def _write_chips(folder: Path, scene: SyntheticScene, seed: int, classes: LabelSet) -> None:
    """Cut a scene into chips of one class: as one file in EuroSAT's order, the first of a class as patches too."""
    for y in range(0, SIDE_PX, CHIP_PX):
        for x in range(0, SIDE_PX, CHIP_PX):
            indices = classes.index_of(scene.label[y : y + CHIP_PX, x : x + CHIP_PX])
            votes = np.bincount(indices.ravel(), minlength=256)[: len(classes)]
            name = classes.names[int(votes.argmax())]
            if votes.max() < SHARE * CHIP_PX**2:
                continue
            _write_chip(folder / "chips" / name / f"{seed}_{y}_{x}.tif", scene, seed, (y, x))
            patches = folder / "patches"
            if sum(1 for _ in patches.glob(f"{name}_*")) < PATCHES_A_CLASS:
                _write_patch(patches / f"{name}_{seed}_{y}_{x}", scene, seed, (y, x), name)


def _write_chip(path: Path, scene: SyntheticScene, seed: int, corner: tuple[int, int]) -> None:
    planes = {}
    for group in SENSOR.groups:
        factor = group.gsd_m // 10
        part = _window(scene.groups[group.gsd_m], corner, group.gsd_m).repeat(factor, 1).repeat(factor, 2)
        planes |= dict(zip(group.slots, part, strict=True))
    _write_raster(path, np.stack([planes[slot] for slot in EUROSAT_ORDER]), seed, corner, 10)


def _write_patch(patch: Path, scene: SyntheticScene, seed: int, corner: tuple[int, int], name: str) -> None:
    for group in SENSOR.groups:
        for band, plane in zip(group.bands, _window(scene.groups[group.gsd_m], corner, group.gsd_m), strict=True):
            _write_raster(patch / f"{patch.name}_{band.name}.tif", plane[None], seed, corner, group.gsd_m)
    (patch / f"{patch.name}_labels_metadata.json").write_text(json.dumps({"labels": [name]}))


def _window(pixels: np.ndarray, corner: tuple[int, int], gsd_m: int) -> np.ndarray:
    (row, column), side = (metres_10 * 10 // gsd_m for metres_10 in corner), CHIP_PX * 10 // gsd_m
    return pixels[:, row : row + side, column : column + side]


def _write_raster(path: Path, pixels: np.ndarray, seed: int, corner: tuple[int, int], gsd_m: int) -> None:
    """Write digital numbers ``(C, H, W)`` without band names, as chips come."""
    epsg, x_m, y_m = place(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    corner_m = x_m + 10 * corner[1], y_m - 10 * corner[0]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=pixels.shape[1],
        width=pixels.shape[2],
        count=len(pixels),
        dtype="uint16",
        nodata=0,
        crs=f"EPSG:{epsg}",
        transform=from_origin(*corner_m, gsd_m, gsd_m),
    ) as raster:
        raster.write(pixels)
        raster.update_tags(RADIO_ADD_OFFSET=str(-OFFSET))


def _write_table(folder: Path) -> None:
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for path in sorted((folder / "chips").rglob("*.tif")):
            writer.writerow([path.relative_to(folder), path.parent.name])
