"""TerraMesh from a replica's tars: mixed offsets, copies of the measured samples, truncated archives, real pixels."""

import io
import json
import tarfile

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from tests.shards.corpora.replica import L1C, L2A, SIDE, copied, interpolated, patch, write_zarr_zip

PLACES = ("433D_629L_3_1", "282D_485L_3_3", "38D_378R_2_3")  # both in; L1C in and L2A out; both out


def write_sample(path, pixels, names, corner=(717729.835, 5_200_000.4), time="2020-04-08T10:20:21"):
    arrays = {
        "bands": (("band", "time", "y", "x"), pixels[:, None]),
        "band": (("band",), np.array(names, "<U3")),
        "time": (("time",), np.array([time], "datetime64[ns]")),
        "x": (("x",), corner[0] + 5 + 10 * np.arange(pixels.shape[2])),
        "y": (("y",), corner[1] - 5 - 10.0 * np.arange(pixels.shape[1])),
        "spatial_ref": ((), np.int64(0), {"crs_wkt": rasterio.crs.CRS.from_epsg(32632).to_wkt()}),
    }
    return write_zarr_zip(path, arrays, {"bands": (len(names), 1, *pixels.shape[1:])})


def write_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two levels and both halves: copies in the one of Major TOM, whole patches interpolated in the other."""
    work = tmp_path_factory.mktemp("terramesh")
    root, truth = work / "TerraMesh", {}
    halves = {
        "majortom_shard_000001": (PLACES, copied),
        "ssl4eos12_shard_000794": (("ssl4eos12_train_0080385",), interpolated),
    }
    for level, names, offsets in (("S2L1C", L1C, (-1000, -1000, 0)), ("S2L2A", L2A, (0, 0, 0))):
        for half, (places, how) in halves.items():
            files = {}
            for number, (place, offset) in enumerate(zip(places, offsets, strict=False)):
                made = patch(number + 10 * (how is copied), names, offset, how)
                truth[level, place] = made.truth, offset, how
                corner = (717729.835 + 264 * 10 * number, 5_200_000.4)
                file = write_sample(work / "one.zarr.zip", made.pixels, names, corner)
                files[f"{place}.zarr.zip"] = file.read_bytes()
            write_tar(root / "train" / level / f"{half}.tar", files)
    write_tar(root / "train/NDVI/majortom_shard_000001.tar", {"433D_629L_3_1.zarr.zip": b"floats"})
    return root, truth


def test_every_sample_is_read_as_measured_whatever_the_offset_of_its_level(corpus, tmp_path):
    root, truth = corpus
    build([str(root)], tmp_path / "out", BuildOptions(SIDE))
    found = ShardSet(tmp_path / "out")
    seen = set()
    for index, entry in enumerate(found.entries):
        level = "S2L1C" if entry.sensor == "sentinel2-l1c" else "S2L2A"
        place = entry.origin["place"]
        wanted, offset, how = truth[level, place]
        for gsd_m, pixels in found.read(index).groups.items():
            np.testing.assert_array_equal(pixels, wanted.group(gsd_m))
        assert entry.origin["offset"] == offset
        assert set(entry.origin["upsampled_by"].values()) == {
            "nearest" if how is copied else "interpolated by the source"
        }
        assert entry.origin["split"] == "train"
        assert entry.epsg == 32632
        seen.add((level, place))
    assert seen == set(truth)
    first = next(e for e in found.entries if e.origin["place"] == PLACES[1])
    assert (first.x_m, first.y_m) == pytest.approx((717729.835 + 2640, 5_200_000.4))
    assert first.datetime == "2020-04-08T10:20:21+00:00"


def test_a_level_2a_sample_that_nothing_decides_is_left_out_and_offset_decides_for_it_alone(tmp_path):
    files = {}
    for number, (place, offset) in enumerate(zip(PLACES, (-1000, 0, -1000), strict=True)):
        made = patch(number, L2A, offset, copied)
        files[f"{place}.zarr.zip"] = write_sample(tmp_path / "one.zarr.zip", made.pixels, L2A).read_bytes()
    tar = write_tar(tmp_path / "S2L2A/majortom_shard_000001.tar", files)
    build([str(tar)], tmp_path / "out", BuildOptions(SIDE))
    assert [e.origin["place"] for e in ShardSet(tmp_path / "out").entries] == [PLACES[1]]
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert len(reasons) == 2
    assert all("its pixels prove neither" in reason for reason in reasons)
    build([str(tar)], tmp_path / "told", BuildOptions(SIDE, offset=-1000))
    assert [e.origin["offset"] for e in ShardSet(tmp_path / "told").entries] == [-1000, 0, -1000]


def test_a_tar_that_was_cut_short_gives_what_came_before_and_says_so(corpus, tmp_path):
    whole = corpus[0] / "train/S2L1C/majortom_shard_000001.tar"
    cut = tmp_path / "S2L1C" / whole.name
    cut.parent.mkdir()
    with tarfile.open(whole) as tar:
        second = tar.getmembers()[1]
    cut.write_bytes(whole.read_bytes()[: second.offset_data + second.size // 2])
    build([str(cut)], tmp_path / "out", BuildOptions(SIDE))
    assert [e.origin["place"] for e in ShardSet(tmp_path / "out").entries] == [PLACES[0]]
    (bad,) = map(json.loads, (tmp_path / "out/quarantine.jsonl").read_text().splitlines())
    assert "cut short" in bad["reason"]
    between = tmp_path / "between/S2L1C" / whole.name
    between.parent.mkdir(parents=True)
    between.write_bytes(whole.read_bytes()[: second.offset])
    build([str(between)], tmp_path / "out2", BuildOptions(SIDE))
    (bad,) = map(json.loads, (tmp_path / "out2/quarantine.jsonl").read_text().splitlines())
    assert "no end of archive" in bad["reason"]


def test_a_phase_that_is_not_the_corner_is_told_and_taken_back(tmp_path):
    """Blocks of 60 m begin at row 2 and column 4: the sample begins there, and its corner moves with it."""
    made = patch(5, L1C, -1000, lambda plane, name: copied(plane, name, (2, 4)))
    tar = write_tar(
        tmp_path / "S2L1C/majortom_shard_000001.tar",
        {"433D_629L_3_1.zarr.zip": write_sample(tmp_path / "one.zarr.zip", made.pixels, L1C).read_bytes()},
    )
    build([str(tar)], tmp_path / "out", BuildOptions(SIDE))
    found = ShardSet(tmp_path / "out")
    entry, sample = found.entries[0], found.read(0)
    assert entry.origin["phase_px"] == [2, 4]
    assert (entry.x_m, entry.y_m) == pytest.approx((717729.835 + 40, 5_200_000.4 - 20))
    stack = dict(zip(L1C, made.pixels.astype(np.uint16), strict=True))
    np.testing.assert_array_equal(sample.groups[10][0][:22, :20], stack["B02"][2:, 4:])
    np.testing.assert_array_equal(sample.groups[60][0][:4, :4][:3, :3], stack["B01"][2::6, 4::6][:3, :3])
    np.testing.assert_array_equal(sample.groups[20][0][:11, :10], stack["B05"][2::2, 4::2])


def test_real_samples_hold_the_measured_20_and_60_m_samples(real, tmp_path):
    """Real pixels of three samples in the container of the set: block test, offset and values, read by rasterio."""
    files, planes = {}, {}
    for place in ("282D_485L_3_3", "433D_629L_3_1", "38D_378R_2_3"):
        (path,) = [path for path in (real / "lulc_seg" / place).glob("*.tif") if rasterio.open(path).count == 13]
        with rasterio.open(path) as raster:
            pixels = raster.read().astype(np.int16)
            names = [f"B{name[1:]}" if name else None for name in raster.descriptions]
            planes[place] = (
                dict(zip(names, pixels.astype(np.uint16), strict=True)),
                int(raster.tags()["RADIO_ADD_OFFSET"]),
            )
            corner = raster.transform.c, raster.transform.f
        files[f"{place}.zarr.zip"] = write_sample(tmp_path / "one.zarr.zip", pixels, names, corner).read_bytes()
    tar = write_tar(tmp_path / "S2L1C/majortom_shard_000001.tar", files)
    build([str(tar)], tmp_path / "out", BuildOptions(228))
    found = ShardSet(tmp_path / "out")
    assert len(found) == 3
    for index, entry in enumerate(found.entries):
        stored, offset = planes[entry.origin["place"]]
        assert entry.origin["offset"] == offset
        assert entry.origin["upsampled_by"] == {"g20": "nearest", "g60": "nearest"}
        assert "phase_px" not in entry.origin
        sample = found.read(index)
        for gsd_m, at, band in ((10, 0, "B02"), (20, 3, "B8A"), (60, 2, "B10")):
            wanted = stored[band][:: gsd_m // 10, :: gsd_m // 10] + (1000 + offset)
            np.testing.assert_array_equal(sample.groups[gsd_m][at][: len(wanted), : wanted.shape[1]], wanted)


def test_the_replica_is_what_xarray_reads(corpus, tmp_path):
    with tarfile.open(corpus[0] / "train/S2L1C/majortom_shard_000001.tar") as tar:
        tar.extract(tar.getmembers()[0], tmp_path, filter="data")
    file = tmp_path / f"{PLACES[0]}.zarr.zip"
    with zarr.storage.ZipStore(file, mode="r") as store, xr.open_zarr(store, consolidated=False) as plain:
        assert plain["bands"].dims == ("band", "time", "y", "x")
        assert list(plain["band"].values) == list(L1C)
