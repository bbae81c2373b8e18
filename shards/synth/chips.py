"""Labelled synthetic chips in class folders, as EuroSAT's lie on disk."""

from pathlib import Path

import numpy as np
import rasterio
import yaml
from rasterio.transform import from_origin

from bandloom.classes.label_set import LabelSet
from bandloom.command_line.console import track
from bandloom.files.output import new_output
from bandloom.rasters.values import OFFSET
from bandloom.shards.synth import SENSOR, GroundKind, SyntheticScene, label_set, synthesise
from bandloom.shards.synth.write import place

_SHARE = 0.6  # a chip belongs to the class that covers this much of it


def write_chips(
    out: Path, scenes: int, size_px: int, seed: int, chip_px: int, *, ground: GroundKind = "land-cover"
) -> dict[str, int]:
    """Write ``OUT/CLASS/CLASS_N.tif`` (13 bands stacked at 10 m) and ``label_set.yaml``; returns chips by class.

    A chip is kept when one class covers 60 % of it; the others would be noise.

    Raises:
        OutputError: ``out`` exists.
    """
    counts: dict[str, int] = {}
    classes = label_set(ground)
    with new_output(out, folder=True) as folder:
        (folder / "label_set.yaml").write_text(yaml.safe_dump(classes.to_dict(), sort_keys=False))
        for place_seed in track(range(seed, seed + scenes), "synthetic chips"):
            scene = synthesise(size_px, place_seed, ground=ground)
            for y in range(0, size_px - chip_px + 1, chip_px):
                for x in range(0, size_px - chip_px + 1, chip_px):
                    name = _class_of(scene.label[y : y + chip_px, x : x + chip_px], classes)
                    if name is not None:
                        counts[name] = counts.get(name, 0) + 1
                        path = folder / "chips" / name / f"{name}_{counts[name]}.tif"
                        _write_chip(path, scene, place_seed, (y, x), chip_px)
    return counts


def _class_of(label: np.ndarray, classes: LabelSet) -> str | None:
    indices = classes.index_of(label)
    votes = np.bincount(indices.ravel(), minlength=256)[: len(classes)]
    return classes.names[int(votes.argmax())] if votes.max() >= _SHARE * label.size else None


def _write_chip(path: Path, scene: SyntheticScene, seed: int, corner: tuple[int, int], chip_px: int) -> None:
    epsg, x_m, y_m = place(seed)
    row, column = corner
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=chip_px,
        width=chip_px,
        count=len(SENSOR.slots),
        dtype="uint16",
        nodata=0,
        crs=f"EPSG:{epsg}",
        transform=from_origin(x_m + 10 * column, y_m - 10 * row, 10, 10),
        compress="deflate",
    ) as raster:
        raster.update_tags(RADIO_ADD_OFFSET=str(-OFFSET))
        index = 0
        for group in SENSOR.groups:
            factor = group.gsd_m // 10
            pixels = scene.groups[group.gsd_m].repeat(factor, 1).repeat(factor, 2)
            for slot, plane in zip(group.slots, pixels, strict=True):
                index += 1
                raster.write(plane[row : row + chip_px, column : column + chip_px], index)
                raster.set_band_description(index, slot)
