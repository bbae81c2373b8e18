"""MMEarth from a replica: its order of bands, two levels in one file, tiles without a corner."""

import json

import h5py
import numpy as np
import pytest
from rasterio.warp import transform

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from tests.shards.corpora.replica import L1C, SIDE, interpolated, patch

ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B08", "B09", "B10", "B11", "B12")
LEVELS = ("l1c", "l2a", "l1c", "l2a", "l1c")


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "data_1M_v001"
    root.mkdir()
    truth, pixels, infos = {}, [], {}
    for number, level in enumerate(LEVELS):
        made = patch(number, L1C, 0, interpolated)
        planes = dict(zip(L1C, made.pixels.astype(np.uint16), strict=True))
        if level == "l2a":
            planes["B10"][:] = 0
            made.truth.bands.pop("B10")
        truth[f"tile{number}"] = made.truth
        pixels.append(np.stack([planes[name] for name in ORDER]))
        infos[f"tile{number}"] = {
            "S2_type": level,
            "S2_DATE": "2018-07-14",
            "CRS": "EPSG:32632",
            "lat": 47.1 + number,
            "lon": 9.2,
        }
    del infos["tile4"]["S2_type"]
    with h5py.File(root / "data_1M_v001.h5", "w") as file:
        file.create_dataset("sentinel2", data=np.stack(pixels), chunks=(1, 13, SIDE, SIDE), compression="gzip")
        names = np.array(
            [(name, level) for name, level in zip(infos, LEVELS, strict=True)],
            [("tile_id", "S100"), ("S2_type", "S10")],
        )
        file.create_dataset("metadata", data=names)
    (root / "data_1M_v001_tile_info.json").write_text(json.dumps(infos))
    (root / "data_1M_v001_splits.json").write_text(json.dumps({"train": [0, 1], "val": [2], "test": [3]}))
    return root, truth


def test_both_levels_of_one_file_are_read_in_its_order_of_bands(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("bandloom.shards.corpora.mmearth._RUN", 2)
    root, truth = corpus
    build([str(root)], tmp_path / "out", BuildOptions(SIDE))
    found = ShardSet(tmp_path / "out")
    assert [e.origin["place"] for e in found.entries] == [f"tile{n}" for n in range(4)]
    assert [e.sensor for e in found.entries] == [f"sentinel2-{level}" for level in LEVELS[:4]]
    assert [e.split for e in found.entries] == ["train", "train", "val", "test"]
    for index, entry in enumerate(found.entries):
        for gsd_m, pixels in found.read(index).groups.items():
            np.testing.assert_array_equal(pixels, truth[entry.origin["place"]].group(gsd_m))
        x, y = transform("EPSG:4326", "EPSG:32632", [9.2], [47.1 + index])
        assert (entry.x_m + SIDE * 5, entry.y_m - SIDE * 5) == pytest.approx((x[0], y[0]))
        assert entry.datetime == "2018-07-14T00:00:00+00:00"
    (bad,) = map(json.loads, (tmp_path / "out/quarantine.jsonl").read_text().splitlines())
    assert "says its level" in bad["reason"]
    assert set(found.manifest["sensors"]) == {"sentinel2-l1c", "sentinel2-l2a"}
