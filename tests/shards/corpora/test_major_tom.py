"""Major TOM from Parquet and from folders, from replicas and from a real cell, each value as rasterio reads it."""

import datetime as dt
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from tests.shards.corpora.replica import GSD_M, L1C, L2A, native, stored, truth_of

SIDE = 120
PRODUCT = "S2B_MSIL{}_20200223T032739_N{}_R018_T48QUE_20230924T183543"


def tif(plane, gsd_m, corner=(362612.197, 1987088.206), crs="EPSG:32648", **more):
    options = {"driver": "GTiff", "count": 1, "height": len(plane), "width": plane.shape[1], "dtype": plane.dtype}
    with MemoryFile() as file:
        with file.open(
            **options, crs=crs, transform=from_origin(*corner, gsd_m, gsd_m), compress="lzw", **more
        ) as raster:
            raster.write(plane, 1)
        return file.read()


def row(cell, product, offset, names, seed, corner=(362612.197, 1987088.206)):
    bands = native(seed, SIDE, names)
    cells = {name: tif(stored(plane, offset), GSD_M[name], corner) for name, plane in bands.items()}
    cloud = np.zeros((SIDE, SIDE), np.uint8)
    cloud[:12] = 1
    facts = {"product_id": product, "grid_cell": cell, "timestamp": "2020-02-23", "thumbnail": b"png"}
    return facts | cells | {"cloud_mask": tif(cloud, 10, corner)}, truth_of(bands)


def write_parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {name: pa.binary() if isinstance(value, bytes) else pa.string() for name, value in rows[0].items()}
    with pq.ParquetWriter(path, pa.schema(list(kinds.items()))) as writer:
        for each in rows:
            writer.write_table(pa.Table.from_pylist([each], schema=pa.schema(list(kinds.items()))))
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A part of Core-S2L1C: reprocessed 2020 with the offset, an early one without, and somebody's own N9999."""
    root = tmp_path_factory.mktemp("tom") / "Core-S2L1C"
    truth, rows = {}, []
    for number, (cell, baseline, offset) in enumerate(
        [("199U_1099R", "0500", -1000), ("200U_1R", "0209", 0), ("1D_12L", "9999", 0), ("2D_12L", "9999", -1000)]
    ):
        made, truth[cell] = row(
            cell, PRODUCT.format("1C", baseline), offset, L1C, number, (362612.197 + 20_000 * number, 1987088.206)
        )
        rows.append(made)
    write_parquet(root / "images/part_00001.parquet", rows)
    pq.write_table(
        pa.table({"grid_cell": list(truth), "product_id": ["x"] * 4, "parquet_row": [0, 1, 2, 3]}),
        root / "metadata.parquet",
    )
    return root, truth


def test_every_cell_is_read_as_it_was_measured_whatever_its_products_baseline(corpus, tmp_path):
    root, truth = corpus
    build([str(root)], tmp_path / "out", BuildOptions(SIDE))
    found = ShardSet(tmp_path / "out")
    assert [e.origin["place"] for e in found.entries] == list(truth)
    for index, entry in enumerate(found.entries):
        for gsd_m, pixels in found.read(index).groups.items():
            np.testing.assert_array_equal(pixels, truth[entry.origin["place"]].group(gsd_m))
        assert entry.cloud_fraction == pytest.approx(0.1)
        assert (entry.x_m, entry.y_m) == (362612.197 + 20_000 * index, 1987088.206)
        assert entry.time == dt.datetime(2020, 2, 23, 3, 27, 39, tzinfo=dt.UTC)
        assert entry.origin["upsampled_by"] == "none"
    assert [(e.origin["offset"], e.origin["offset_from"]) for e in found.entries] == [
        (-1000, "processing baseline 05.00 of the product's name"),
        (0, "processing baseline 02.09 of the product's name"),
        (0, "B10's lowest percentile"),
        (-1000, "B10's lowest percentile"),
    ]


def test_a_level_2a_product_of_unknown_baseline_is_decided_by_dark_values_or_left_out(tmp_path):
    rows = [
        row("1U_1R", PRODUCT.format("2A", "9999"), 0, L2A, 1)[0],
        row("2U_1R", PRODUCT.format("2A", "9999"), -1000, L2A, 2)[0],
    ]
    write_parquet(tmp_path / "images/part_00001.parquet", rows)
    build([str(tmp_path / "images")], tmp_path / "out", BuildOptions(SIDE))
    found = ShardSet(tmp_path / "out")
    assert [e.origin["place"] for e in found.entries] == ["1U_1R"]
    assert found.entries[0].origin["offset"] == 0
    (bad,) = map(json.loads, (tmp_path / "out/quarantine.jsonl").read_text().splitlines())
    assert "its pixels prove neither" in bad["reason"]
    assert "2U_1R" in bad["source"]
    build([str(tmp_path / "images")], tmp_path / "told", BuildOptions(SIDE, offset=-1000))
    told = ShardSet(tmp_path / "told")
    assert [(e.origin["offset"], e.origin["offset_from"]) for e in told.entries][1] == (-1000, "--offset")
    assert told.entries[0].origin["offset"] == 0  # its pixels prove what it is, whatever is said of the rest


def test_row_groups_are_read_one_at_a_time(corpus, tmp_path, monkeypatch):
    asked, real = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, i, **k: asked.append(i) or real(self, i, **k))
    build([str(corpus[0] / "images")], tmp_path / "out", BuildOptions(SIDE))
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", ["empty group", "cut band", "moved band", "bytes", "no product", "B10 missing"])
def test_a_cell_that_is_damaged_is_quarantined_and_the_others_stand(tmp_path, damage):
    good = row("1U_1R", PRODUCT.format("1C", "0500"), -1000, L1C, 1)[0]
    bad, truth = row("2U_1R", PRODUCT.format("1C", "0500"), -1000, L1C, 2)
    if damage == "cut band":
        bad["B11"] = bad["B11"][: len(bad["B11"]) // 2]
    elif damage == "moved band":
        bad["B11"] = tif(stored(truth.bands["B11"] / 1e4, 0), 20, (362632.197, 1987088.206))
    elif damage == "bytes":
        bad["B04"] = tif(np.ones((SIDE, SIDE), np.uint8), 10)
    elif damage == "no product":
        bad["product_id"] = "LC08_L1TP"
    elif damage == "B10 missing":
        bad["B10"] = None
    path = write_parquet(tmp_path / "images/part_00001.parquet", [good, bad])
    if damage == "empty group":
        table = pq.read_table(path)
        with pq.ParquetWriter(path, table.schema) as writer:
            writer.write_table(table.slice(0, 1))
            writer.write_table(table.slice(0, 0))
    build([str(path)], tmp_path / "out", BuildOptions(SIDE))
    assert [e.origin["place"] for e in ShardSet(tmp_path / "out").entries] == ["1U_1R"]
    if damage != "empty group" or pq.ParquetFile(path).num_row_groups == 2:
        (reason,) = [
            json.loads(line)["reason"] for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()
        ]
        assert reason.endswith(".")


def test_a_real_cell_in_folders_is_what_rasterio_reads(real, tmp_path):
    root = tmp_path / "Core-S2L2A" / "199U"
    shutil.copytree(real / "unlabelled/majortom_s2l2a", root)
    build([str(tmp_path / "Core-S2L2A")], tmp_path / "out", BuildOptions())
    found = ShardSet(tmp_path / "out")
    assert len(found) == 25
    product = next((root / "199U_1099R").iterdir())
    assert {(e.origin["place"], e.origin["offset"], e.side_px) for e in found.entries} == {("199U_1099R", 0, 216)}
    for gsd_m, names in ((10, ("B02", "B03", "B04", "B08")), (60, ("B01", "B09"))):
        px = 2160 // gsd_m
        for at, name in enumerate(names):
            with rasterio.open(product / f"{name}.tif") as raster:
                plane = raster.read(1).astype(np.int64)
            for index, entry in enumerate(found.entries):
                r, c = (int(part[1:]) for part in entry.key.rsplit("_", 2)[1:])
                wanted = plane[r * px : (r + 1) * px, c * px : (c + 1) * px]
                pixels = found.read(index).groups[gsd_m][at][: wanted.shape[0], : wanted.shape[1]]
                np.testing.assert_array_equal(pixels, np.where(wanted == 0, 0, wanted + 1000))
