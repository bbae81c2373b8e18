"""BigEarthNet as pixels: a real patch of version 2 in its tiles, with the published split; version 1 laid flat."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
PATCH = f"{TILE}_75_43"


def place(source, folder, name):
    folder = folder / name
    folder.mkdir(parents=True)
    for file in source.glob("*.tif"):
        shutil.copy(file, folder / f"{name}_{file.stem.rpartition('_')[2]}.tif")
    return folder


@pytest.fixture
def patch(real):
    return real / "unlabelled/bigearthnet_v2" / PATCH


def check(shards, index, patch):
    names = {10: ("B02", "B03", "B04", "B08"), 20: ("B05", "B06", "B07", "B8A", "B11", "B12"), 60: ("B01", "B09")}
    for gsd_m, pixels in shards.read(index).groups.items():
        for plane, name in zip(pixels, names[gsd_m], strict=True):
            with rasterio.open(next(patch.glob(f"*_{name}.tif"))) as raster:
                stored = raster.read(1).astype(np.int64)
            np.testing.assert_array_equal(plane, np.where(stored == 0, 0, stored + 1000))


def test_version_2_is_read_with_its_split(patch, tmp_path):
    root = tmp_path / "BigEarthNet"
    whole = place(patch, root / "BigEarthNet-S2" / TILE, PATCH)
    holed = place(patch, root / "BigEarthNet-S2" / TILE, f"{TILE}_75_44")
    next(holed.glob("*_B8A.tif")).unlink()
    pq.write_table(
        pa.table({"patch_id": [PATCH, f"{TILE}_75_44"], "split": ["validation", "test"]}), root / "metadata.parquet"
    )
    build([str(root)], tmp_path / "out", BuildOptions())
    found = ShardSet(tmp_path / "out")
    assert [(e.split, e.side_px, e.valid_fraction) for e in found.entries] == [("val", 120, 1.0)]
    check(found, 0, whole)
    entry = found.entries[0]
    assert (entry.origin["offset"], entry.origin["upsampled_by"]) == (0, "none")
    assert entry.datetime == "2017-06-13T10:10:31+00:00"
    (bad,) = map(json.loads, (tmp_path / "out/quarantine.jsonl").read_text().splitlines())
    assert "lacks B8A" in bad["reason"]


def test_version_1_lies_flat_and_each_product_is_one_container(patch, tmp_path):
    root = tmp_path / "BigEarthNet-v1.0"
    first, second = "S2A_MSIL2A_20170613T101031_61_39", "S2B_MSIL2A_20170801T095029_1_2"
    whole = [place(patch, root, name) for name in (first, second)]
    with rasterio.open(next(whole[1].glob("*_B02.tif")), "r+") as raster:
        raster.write(raster.read(1) + 1, 1)
    build([str(root)], tmp_path / "out", BuildOptions())
    found = ShardSet(tmp_path / "out")
    assert {e.origin["place"] for e in found.entries} == {first, second}
    assert len(found.manifest["sources"]) == 2
    for index, entry in enumerate(found.entries):
        check(found, index, root / entry.origin["place"])
