"""Labelled shards of each real set, built as a user would: a mask, polygons, chips in class folders, two dates."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
import yaml
from scipy import ndimage

LULC = {
    "water": "#1f6fd0",
    "trees": "#1c7c2c",
    "flooded_vegetation": "#5fb3a2",
    "crops": "#e2b23c",
    "built_area": "#c23b3b",
    "bare_ground": "#b9a37e",
    "snow_ice": "#e8f1f7",
    "clouds": "#bfbfbf",
    "rangeland": "#cdd17a",
}
SETS = {
    "flood": "flood_seg/Spain_7370579",
    "282D": "lulc_seg/282D_485L_3_3",
    "433D": "lulc_seg/433D_629L_3_1",
    "chips16": "lulc_chips16",
    "chips32": "lulc_chips32",
    "amazon": "lulc_sparse_amazon_sen2",
    "boadella": "water_timeseries_boadella",
}
CHIP_SIDE_PX = {"chips32": 36, "chips16": 18}  # padded to the 60 m grid
CLEAR_DATES = ("2020-01-28", "2020-02-02", "2020-06-21", "2020-09-14", "2021-06-26")  # Boadella's, by eye
SHORE_PX = 20  # Boadella: labels reach this far around the nominal outline
# what the sources say of their offset nowhere (their readme and their pixels do): baseline before 04.00, or harmonised
WITHOUT_OFFSET = (
    "unlabelled/baltic_l2a_chips128",
    "water_timeseries_boadella",
    "unlabelled/ssl4eo_s12/s2a",
    "unlabelled/majortom_s2l2a",
    "unlabelled/bigearthnet_v2",
)


def unlabelled_sources(data: Path, out: Path) -> list[Path]:
    """Return every 13-band L1C and 12-band L2A source at hand, to pretrain on."""
    patterns = (
        "lulc_seg/*/S2L1C.tif",
        "lulc_seg/*/S2L2A.tif",
        "flood_seg/*/S2Hand.tif",
        "unlabelled/ssl4eo_s12/s2c/*",
        "lulc_sparse_amazon_sen2/S2L2A.tif",
    )
    return sorted([path for pattern in patterns for path in data.glob(pattern)] + tagged(data, out / "tagged"))


def tagged(data: Path, out: Path) -> list[Path]:
    """Copy the sources that do not say their offset, with the tag they lack (0: none was added); returns the copies.

    A folder of bands gets a plain name: by its own it would be taken for a public corpus, which goes by itself.
    """
    shutil.rmtree(out, ignore_errors=True)
    for folder in WITHOUT_OFFSET:
        for path in (data / folder).rglob("*.tif*"):
            band = path.stem.rpartition("_")[2]
            if re.fullmatch(r"B\d\d?A?", band):
                with_offset(path, out / f"{Path(folder).name}-{path.parent.name[:26]}".lower() / f"{band}.tif")
            elif "mask" not in path.name:
                with_offset(path, out / path.name)
    return sorted(out.iterdir())


def with_offset(path: Path, copy: Path) -> None:
    """Copy a raster and write into the copy that no offset was added."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
    with rasterio.open(copy, "r+") as raster:
        raster.update_tags(RADIO_ADD_OFFSET="0")


def make_shards(data: Path, out: Path, name: str) -> Path:
    """Build a set's labelled shards once; returns their folder."""
    shards, folder = out / f"shards-{name}", data / SETS[name]
    if shards.exists():
        return shards
    if name in CHIP_SIDE_PX:
        bandloom("shards", "build", folder, "--class-folders", "--side", str(CHIP_SIDE_PX[name]), "--out", shards)
        return shards
    make = {"amazon": from_polygons, "boadella": from_dates}.get(name)
    image, labels, label_set = make(folder, out) if make else scene_with_mask(folder, out, name)
    bandloom("shards", "build", image, "--labels", labels, "--label-set", label_set, "--out", shards)
    return shards


def scene_with_mask(folder: Path, out: Path, name: str) -> tuple[Path, Path, Path]:
    """Return a scene, its label raster and its label set; classes without a hundred pixels are left out."""
    if name == "flood":
        classes = [{"code": 0, "name": "land", "colour": "#b9a37e"}, {"code": 1, "name": "water", "colour": "#1f6fd0"}]
        record = {"name": "flood", "classes": classes, "ignore": [-1, 255]}
        return folder / "S2Hand.tif", folder / "LabelHand.tif", write(out / f"labels-{name}.yaml", record)
    with rasterio.open(folder / "LULC.tif") as raster:
        counts = np.bincount(raster.read(1).ravel(), minlength=10)
    classes = [
        {"code": code, "name": land_class, "colour": colour}
        for code, (land_class, colour) in enumerate(LULC.items(), 1)
        if counts[code] >= 100
    ]
    rare = [code for code in range(1, 10) if 0 < counts[code] < 100]
    record = {"name": f"lulc-{name}", "classes": classes, "ignore": [0, *rare]}
    return folder / "S2L1C.tif", folder / "LULC.tif", write(out / f"labels-{name}.yaml", record)


def from_polygons(folder: Path, out: Path) -> tuple[Path, Path, Path]:
    """Return the Amazon scene and its 25 polygons as `bandloom labels prepare` burns them."""
    classes = [{"code": code, "name": name} for code, name in enumerate(("dryout", "forest", "village", "water"), 1)]
    label_set = write(out / "labels-amazon.yaml", {"name": "amazon", "classes": classes})
    prepared = out / "prepared-amazon"
    shutil.rmtree(prepared, ignore_errors=True)
    bandloom(
        "labels",
        "prepare",
        folder / "S2L2A.tif",
        "--form",
        "polygons",
        "--labels",
        folder / "training_polygons.geojson",
        "--label-set",
        label_set,
        "--out",
        prepared,
    )
    return prepared / "scenes", prepared / "labels", label_set


def from_dates(folder: Path, out: Path) -> tuple[Path, Path, Path]:
    """Return Boadella's clear dates with water by date around the nominal outline.

    Nobody drew the water by date. It is what the modified water index says, (B03 - B11) / (B03 + B11) > 0 (Xu 2006): a
    reference that follows from two of the bands, so scores say how well a model finds an index again, no more.
    """
    classes = [{"code": 1, "name": "land", "colour": "#b9a37e"}, {"code": 2, "name": "water", "colour": "#1f6fd0"}]
    scenes, labels = out / "boadella" / "scenes", out / "boadella" / "labels"
    labels.mkdir(parents=True, exist_ok=True)
    with rasterio.open(folder / "water_mask_static.tif") as raster:
        near = ndimage.binary_dilation(raster.read(1) > 0, iterations=SHORE_PX)
    for date in CLEAR_DATES:
        copy = scenes / f"Boadella_{date}.tif"
        with_offset(folder / copy.name, copy)
        with rasterio.open(copy) as raster:
            green, infrared = (
                raster.read(raster.descriptions.index(band) + 1).astype(float) for band in ("B03", "B11")
            )
            profile = raster.profile | {"count": 1, "dtype": "uint8", "nodata": 255}
        water = np.where(near, 1 + (green > infrared), 255).astype(np.uint8)
        with rasterio.open(labels / copy.name, "w", **profile) as raster:
            raster.write(water, 1)
    return scenes, labels, write(out / "labels-boadella.yaml", {"name": "boadella", "classes": classes})


def bandloom(*words: str | Path) -> None:
    """Type one verb."""
    print("$ bandloom", *words, flush=True)
    subprocess.run([sys.executable, "-m", "bandloom.cli", *map(str, words)], check=True)


def write(path: Path, record: dict) -> Path:
    """Write a YAML file and return its path."""
    path.write_text(yaml.safe_dump(record, sort_keys=False))
    return path
