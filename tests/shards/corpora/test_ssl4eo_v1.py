"""SSL4EO-S12 v1 from the real patch in its folders, and from what is missing in them."""

import json
import shutil

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet

SEASON = "20200604T054639_20200604T054831_T43RCP"


@pytest.fixture
def corpus(real, tmp_path):
    """One place at one season in both levels, a season that lacks a band, and a gap in the ids."""
    root = tmp_path / "ssl4eo"
    for level in ("s2c", "s2a"):
        shutil.copytree(real / "unlabelled/ssl4eo_s12" / level / SEASON, root / level / "0000000" / SEASON)
    other = root / "s2c/0000002/20200904T054639_20200904T054831_T43RCP"
    shutil.copytree(real / "unlabelled/ssl4eo_s12/s2c" / SEASON, other)
    (other / "B5.tif").unlink()
    return root


def test_a_real_patch_lies_in_utm_with_its_own_values_and_time(corpus, tmp_path):
    build([str(corpus)], tmp_path / "out", BuildOptions())
    found = ShardSet(tmp_path / "out")
    assert len(found) == 2
    (bad,) = map(json.loads, (tmp_path / "out/quarantine.jsonl").read_text().splitlines())
    assert "the season is incomplete" in bad["reason"]
    by_sensor = {entry.sensor: (entry, found.read(index)) for index, entry in enumerate(found.entries)}
    entry, sample = by_sensor["sentinel2-l1c"]
    assert (entry.origin["place"], entry.origin["offset"], entry.epsg) == ("0000000", 0, 32643)
    told = json.loads((corpus / "s2c/0000000" / SEASON / "metadata.json").read_text())["system:time_start"]
    assert entry.time.timestamp() == told // 1000
    assert entry.valid_fraction == 1.0
    assert by_sensor["sentinel2-l2a"][0].cells == entry.cells
    for gsd_m, file, at in ((10, "B4", 2), (20, "B11", 4), (60, "B1", 0)):
        with rasterio.open(corpus / "s2c/0000000" / SEASON / f"{file}.tif") as raster:
            plane = raster.read(1).astype(np.int64)
            pixels = sample.groups[gsd_m][at].astype(np.int64) - 1000
            rows, columns = np.mgrid[: len(pixels), : pixels.shape[1]]
            x, y = entry.x_m + (columns + 0.5) * gsd_m, entry.y_m - (rows + 0.5) * gsd_m
            lon, lat = transform(f"EPSG:{entry.epsg}", raster.crs, x.ravel(), y.ravel())
            r, c = rasterio.transform.rowcol(raster.transform, lon, lat)
            near = plane[np.array(r, int), np.array(c, int)].reshape(pixels.shape)
        same = np.corrcoef(near.ravel(), pixels.ravel())[0, 1]
        assert same > 0.95, (file, same)  # resampled to UTM: the pixel in which a sample's centre lies is near it
        assert abs(np.median(near) - np.median(pixels)) < 30


def test_an_8_bit_edition_is_refused_with_the_one_to_take(corpus, tmp_path, command):
    season = corpus / "s2c/0000000" / SEASON
    for file in season.glob("*.tif"):
        with rasterio.open(file) as raster:
            profile, plane = raster.profile, raster.read(1)
        with rasterio.open(file, "w", **{**profile, "dtype": "uint8"}) as raster:
            raster.write((plane / 10000 * 255).clip(0, 255).astype(np.uint8), 1)
    shutil.rmtree(corpus / "s2c/0000002")
    code, said = command("shards", "build", corpus / "s2c", "--out", tmp_path / "out")
    assert code == 2
    assert "8-bit edition" in " ".join(said.split())


def test_a_season_with_1000_in_its_values_contradicts_the_set_and_is_quarantined(corpus, tmp_path):
    shutil.rmtree(corpus / "s2a")
    shutil.copytree(corpus / "s2c/0000000", corpus / "s2c/0000001")
    shutil.rmtree(corpus / "s2c/0000002")
    for file in (corpus / "s2c/0000001" / SEASON).glob("*.tif"):
        with rasterio.open(file, "r+") as raster:
            raster.write(raster.read() + 1000)
    build([str(corpus)], tmp_path / "out", BuildOptions())
    assert [e.origin["place"] for e in ShardSet(tmp_path / "out").entries] == ["0000000"]
    (bad,) = map(json.loads, (tmp_path / "out/quarantine.jsonl").read_text().splitlines())
    assert "0000001" in bad["source"]
    assert "the +1000 offset is still in" in bad["reason"]
