"""Makes the shards that :mod:`benchmarks.distillation_students` trains on and :mod:`benchmarks.distillation` scores.

``python -m benchmarks.distillation_shards OUT --data DATA`` leaves ``OUT/sh-all`` (every unlabelled source at hand,
none of a scene that is scored), ``OUT/sh-l1c`` (those of Level-1C alone, which Galileo reads) and ``OUT/sets`` (the
labelled sets). What sources do not say of themselves (band names, their offset) is written into copies.
"""

import argparse
import shutil
from pathlib import Path

import h5py
import numpy as np
import rasterio
from rasterio.transform import from_origin

from bandloom.shards.scenes.bands import BAND_ORDERS
from benchmarks.real_inputs import WITHOUT_OFFSET, bandloom, make_shards, tagged

SIDE_PX, MIN_VALID = 48, 0.5  # pixels of 10 m; of a sample, more than this is measured
SETS = ("chips16", "chips32", "flood", "433D", "282D")
LEVEL_1C = ("unlabelled/s2_l1c_virginia", "unlabelled/ssl4eo_s12/s2c/*")
LEVEL_2A = tuple(name for name in WITHOUT_OFFSET if name.startswith("unlabelled"))
# SatCLIP's patches do not say their offset, their darkest samples do; two deserts, which show none, are left out
WITH_OFFSET = ("patch_57755", "patch_75123", "patch_770287", "patch_8845")
UNCLEAR = ("patch_70541", "patch_759128")
# DSen2's crops have no place: the corner of their tile stands for it, and B10, which they lack, is absent throughout
CROPS = {"S2A_MSIL1C_20170527_T33UUB": (32633, 300000, 5500020), "S2B_MSIL1C_20171022_T49JGM": (32649, 699960, 3000000)}
GROUPS = {
    "im10": (10, ("B02", "B03", "B04", "B08")),
    "im20": (20, ("B05", "B06", "B07", "B8A", "B11", "B12")),
    "im60": (60, ("B01", "B09")),
}


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    out, data = options.out, options.data
    (out / "sets").mkdir(parents=True, exist_ok=True)
    if not (out / "sh-all" / "manifest.json").exists():
        taught = [path for pattern in LEVEL_1C for path in sorted(data.glob(pattern))] + crops(data, out / "crops")
        others = [path for path in tagged(data, out / "tagged") if "boadella" not in path.name.lower()]
        others += patches(data, out / "patches")
        build(taught, out / "sh-l1c")
        build([*taught, *others], out / "sh-all")
    for name in SETS:
        make_shards(data, out / "sets", name)


def build(sources: list[Path], shards: Path) -> None:
    """Build unlabelled shards."""
    form = ("--side", str(SIDE_PX), "--min-valid", str(MIN_VALID), "--split", "train")
    bandloom("shards", "build", *sources, *form, "--out", shards)


def crops(data: Path, out: Path) -> list[Path]:
    """Write DSen2's crops as folders of bands at their own sampling; returns the folders."""
    shutil.rmtree(out, ignore_errors=True)
    for name, (epsg, west, north) in CROPS.items():
        (out / name).mkdir(parents=True)
        with h5py.File(data / "unlabelled" / "s2_l1c_dsen2" / f"{name}.mat") as file:
            for group, (gsd_m, bands) in GROUPS.items():
                values = np.asarray(file[group]).transpose(0, 2, 1)  # MATLAB's order of axes
                for band, band_values in zip(bands, values, strict=True):
                    write_band(out / name / f"{band}.tif", band_values, gsd_m, epsg, west, north)
                if gsd_m == 60:
                    write_band(out / name / "B10.tif", np.zeros_like(values[0]), gsd_m, epsg, west, north)
    return sorted(out.iterdir())


def write_band(path: Path, values: np.ndarray, gsd_m: int, epsg: int, west: float, north: float) -> None:
    """Write one band ``(H, W)`` of 10000 x reflectance, 0 where absent, tagged as without an offset."""
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": f"EPSG:{epsg}", "nodata": 0}
    height, width = values.shape
    transform = from_origin(west, north, gsd_m, gsd_m)
    with rasterio.open(path, "w", height=height, width=width, transform=transform, **profile) as raster:
        raster.write(np.clip(np.rint(values), 0, 65534).astype(np.uint16), 1)
        raster.update_tags(RADIO_ADD_OFFSET="0")


def patches(data: Path, out: Path) -> list[Path]:
    """Copy SatCLIP's patches with the names of their bands and their offset; returns the copies."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for path in sorted((data / "unlabelled" / "s2_l2a_satclip").glob("*.tif")):
        if path.stem not in UNCLEAR:
            shutil.copyfile(path, out / path.name)
            with rasterio.open(out / path.name, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
                raster.descriptions = BAND_ORDERS["l2a"]
                raster.update_tags(RADIO_ADD_OFFSET="-1000" if path.stem in WITH_OFFSET else "0")
    return sorted(out.iterdir())


if __name__ == "__main__":
    main()
