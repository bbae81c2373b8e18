"""Copernicus-Pretrain from a replica: mixed offsets, places of several dates, exact repeats."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from tests.shards.corpora.replica import L1C, SIDE, copied, interpolated, patch

CELL, PLACE = "0772176_-96.00_44.00", "0865831_-95.92_43.96"
IMAGES = {
    "20200621T170851_20200621T171600_T14TQP": (0, interpolated),
    "20221121T170629_20221121T170955_T14TQP": (-1000, copied),
}


def write(path, pixels, crs="EPSG:32614", pixel_m=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"driver": "GTiff", "count": len(pixels), "height": SIDE, "width": SIDE, "dtype": "uint16", "crs": crs}
    with rasterio.open(path, "w", transform=from_origin(741233.7, 4871120.2, pixel_m, pixel_m), **options) as raster:
        raster.write(pixels.astype(np.uint16))


@pytest.fixture
def corpus(tmp_path):
    root, truth = tmp_path / "Sentinel-2/images", {}
    for number, (name, (offset, how)) in enumerate(IMAGES.items()):
        made = patch(number, L1C, offset, how)
        truth[name] = made.truth, offset
        write(root / CELL / PLACE / f"{name}.tif", made.pixels)
    again = made.pixels
    write(root / CELL / PLACE / "20221221T170629_20221221T170955_T14TQP.tif", again)  # a season given twice
    write(root / CELL / "0865832_-95.92_43.99/20221121T170629_20221121T170955_T14TQP.tif", again, "EPSG:3995")
    return tmp_path / "Sentinel-2", truth


def test_each_image_is_read_by_its_own_offset(corpus, tmp_path):
    root, truth = corpus
    build([str(root)], tmp_path / "out", BuildOptions(SIDE))
    found = ShardSet(tmp_path / "out")
    assert [e.origin["product"] for e in found.entries][:2] == list(IMAGES)
    for index, entry in enumerate(found.entries[:2]):
        wanted, offset = truth[entry.origin["product"]]
        for gsd_m, pixels in found.read(index).groups.items():
            np.testing.assert_array_equal(pixels, wanted.group(gsd_m))
        assert (entry.origin["offset"], entry.origin["offset_from"]) == (offset, "B10's lowest percentile")
        assert entry.origin["place"] == f"{CELL}/{PLACE}"
        assert "." not in entry.key
    assert found.entries[2].split == "duplicate"
    assert {e.cells for e in found.entries} == {found.entries[0].cells}
    (bad,) = map(json.loads, (tmp_path / "out/quarantine.jsonl").read_text().splitlines())
    assert "UTM" in bad["reason"]


def test_pickled_tensors_are_refused_with_the_edition_to_take(tmp_path, command):
    (tmp_path / "wds").mkdir()
    (tmp_path / "wds/0000001.s2_toa.pth").write_bytes(b"\x80\x02")
    code, said = command("shards", "build", tmp_path / "wds", "--out", tmp_path / "out")
    assert code == 2
    assert "take the set's GeoTIFF edition" in " ".join(said.split())


def test_what_a_file_says_of_its_values_and_bands_is_heard(tmp_path):
    files = [f"2022{month:02d}21T170629_20221121T170955_T14TQP" for month in range(1, 8)]
    made = patch(1, L1C, -1000, copied)
    for file in files:
        write(tmp_path / CELL / PLACE / f"{file}.tif", made.pixels)
    paths = {file: tmp_path / CELL / PLACE / f"{file}.tif" for file in files}
    with rasterio.open(paths[files[1]], "r+") as raster:
        raster.scales = (0.5,) * 13
    with rasterio.open(paths[files[2]], "r+") as raster:
        raster.offsets = (-1000,) * 13
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(paths[files[3]], "r+") as raster:
        raster.write_mask(np.arange(SIDE * SIDE).reshape(SIDE, SIDE) > 99)
    with rasterio.open(paths[files[4]], "r+") as raster:
        raster.transform = from_origin(741233.7, 4871120.2, 10, 20)
    orders = ([*L1C[:8], *L1C[9:], "B8A"], [f"B{int(b[1:])}" if b != "B8A" else b for b in L1C])
    for file, order in zip(files[5:], orders, strict=True):
        with rasterio.open(paths[file], "r+") as raster:
            raster.descriptions = tuple(order)
    build([str(tmp_path)], tmp_path / "out", BuildOptions(SIDE))
    assert {e.origin["product"] for e in ShardSet(tmp_path / "out").entries} == {files[0], files[6]}
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    for reason, words in zip(reasons, ("scale 0.5", "offset -1000", "a mask", "10 m", "names its bands"), strict=True):
        assert words in reason
