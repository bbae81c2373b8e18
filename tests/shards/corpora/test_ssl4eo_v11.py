"""SSL4EO-S12 v1.1 from a replica to shards, each value as xarray and plain arithmetic read it."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
import xarray as xr
import zarr

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.corpora.zarr_v2 import ZarrV2
from bandloom.shards.read.shard_set import ShardSet
from tests.shards.corpora.replica import SIDE, copied, write_ssl4eo_v11

NAME = "ssl4eos12_{}_seasonal_data_{:06d}.zarr.zip"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The set as its hub publishes it: both levels, samples in another order, train and val, pictures beside."""
    root = tmp_path_factory.mktemp("ssl4eo") / "ssl4eo-s12"
    truth = {}
    train, val = ["0000173", "0101001", "0200009"], ["0240100"]
    for level, order in (("S2L1C", train), ("S2L2A", train[::-1])):
        truth[level, "train"] = write_ssl4eo_v11(root / "train" / level / NAME.format("train", 1), order, level)
        truth[level, "val"] = write_ssl4eo_v11(root / "val" / level / NAME.format("val", 1), val, level, clouds=False)
    write_ssl4eo_v11(root / "train" / "S2RGB" / NAME.format("train", 1), train, "S2L2A")
    (root / "splits").mkdir()
    (root / "splits/ssl4eos12_train.txt").write_text("ssl4eos12_train_seasonal_data_000001.zarr.zip\n")
    return root, truth


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "shards"
    build([str(corpus[0])], out, BuildOptions(SIDE))
    return ShardSet(out)


def test_every_value_of_every_season_is_the_independent_readers(corpus, built):
    truth = corpus[1]
    assert len(built) == 2 * (3 + 1) * 4
    seen = set()
    for index, entry in enumerate(built.entries):
        origin = entry.origin
        level = "S2L1C" if entry.sensor == "sentinel2-l1c" else "S2L2A"
        wanted = truth[level, origin["split"]][origin["place"], origin["season"]]
        for gsd_m, pixels in built.read(index).groups.items():
            np.testing.assert_array_equal(pixels, wanted.group(gsd_m))
        seen.add((level, origin["place"], origin["season"]))
    assert len(seen) == len(built)


def test_a_sample_says_where_it_comes_from_and_why_its_values_are_taken_so(corpus, built):
    path = corpus[0] / "train/S2L1C" / NAME.format("train", 1)
    entry = next(e for e in built.entries if e.origin["address"] == f"{path}!0101001!2")
    with zarr.storage.ZipStore(path, mode="r") as store, xr.open_zarr(store, consolidated=False) as plain:
        at = list(plain["sample"].values).index("0101001")
        assert entry.x_m == float(plain["x_"][at, 0]) - 5
        assert entry.y_m == float(plain["y_"][at, 0]) + 5
        assert entry.time.replace(tzinfo=None) == plain["time_"].values[at, 2].astype("datetime64[s]").item()
    assert entry.epsg == 32632
    assert "." not in entry.key
    assert entry.origin == {
        "corpus": "ssl4eo-s12-v1.1",
        "address": f"{path}!0101001!2",
        "place": "0101001",
        "season": 2,
        "split": "train",
        "offset": -1000,
        "offset_from": "the table of SSL4EO-S12 v1.1",
        "upsampled_by": {"g20": "interpolated by the source", "g60": "interpolated by the source"},
    }
    container = next(s for s in built.manifest["sources"].values() if s["source"] == str(path))
    assert (container["samples"], container["licence"]) == (12, "CC-BY-4.0")
    assert container["exact"] == {"exact_0": 0, "exact_1000": 0}


def test_the_published_split_stands_and_all_seasons_of_a_place_share_it(built):
    assert built.manifest["split_rule"] == "published"
    assert {e.split for e in built.entries if e.origin["split"] == "val"} == {"val"}
    places = {}
    for entry in built.entries:
        places.setdefault(entry.origin["place"], set()).add((entry.split, entry.cells))
    assert all(len(place) == 1 for place in places.values())


def test_codes_one_and_two_of_the_cloud_mask_are_cloud(built):
    cloudy = {e.origin["season"]: e.cloud_fraction for e in built.entries if e.origin["split"] == "train"}
    assert cloudy == {0: 0.0, 1: pytest.approx(6 * 12 / SIDE**2), 2: 0.0, 3: 0.0}
    assert all(e.cloud_fraction is None for e in built.entries if e.origin["split"] == "val")


def test_a_chunk_is_decoded_once_for_all_its_samples(corpus, tmp_path, monkeypatch):
    asked, real = [], ZarrV2.chunk
    monkeypatch.setattr(ZarrV2, "chunk", lambda self, name, at: asked.append((name, tuple(at))) or real(self, name, at))
    build([str(corpus[0] / "train/S2L1C")], tmp_path / "out", BuildOptions(SIDE))
    pixels = [at for name, at in asked if name == "bands"]
    assert sorted(pixels) == [(0, season, 0, 0, 0) for season in range(4)]
    assert len(ShardSet(tmp_path / "out")) == 12


def test_copies_give_the_measured_samples_back(tmp_path):
    file = tmp_path / "S2L1C" / NAME.format("train", 7)
    truth = write_ssl4eo_v11(file, ["0000173"], "S2L1C", how=copied)
    build([str(file)], tmp_path / "out", BuildOptions(SIDE))
    found = ShardSet(tmp_path / "out")
    assert found.entries[3].origin["upsampled_by"] == {"g20": "nearest", "g60": "nearest"}
    np.testing.assert_array_equal(found.read(3).groups[60], truth["0000173", 3].group(60))


def test_values_without_the_1000_contradict_the_set_and_are_quarantined(tmp_path, command):
    folder = tmp_path / "S2L2A"
    write_ssl4eo_v11(folder / NAME.format("train", 1), ["0000173"], "S2L2A", offset=0)
    write_ssl4eo_v11(folder / NAME.format("train", 2), ["0000999"], "S2L2A")
    assert command("shards", "build", folder, "--side", SIDE, "--out", tmp_path / "out")[0] == 0
    reasons = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert len(reasons) == 4
    assert all("should carry +1000" in reason["reason"] and "0000173" in reason["source"] for reason in reasons)
    assert {e.origin["place"] for e in ShardSet(tmp_path / "out").entries} == {"0000999"}


def test_a_missing_chunk_is_no_pixels_of_zero(tmp_path):
    good = tmp_path / "S2L1C" / NAME.format("train", 1)
    write_ssl4eo_v11(good, ["0000173", "0000174"], "S2L1C")
    holed = good.with_name(NAME.format("train", 2))
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(holed, "w") as new:
        for info in old.NameToInfo.values():  # of two of one name the last counts
            if info.filename != "bands/0.2.0.0.0":
                new.writestr(info, old.read(info))
    build([str(good.parent)], tmp_path / "out", BuildOptions(SIDE))
    reasons = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert [reason["source"].rsplit("!", 2)[1:] for reason in reasons] == [["0000173", "2"], ["0000174", "2"]]
    assert all("lacks chunk bands/0.2.0.0.0" in reason["reason"] for reason in reasons)
    found = ShardSet(tmp_path / "out")
    kept = [e for e in found.entries if str(holed) in e.origin["address"]]
    assert len(kept) == 6


def test_zeros_stay_absent_and_zeros_with_1000_added_become_so(tmp_path):
    file = tmp_path / "S2L1C" / NAME.format("train", 1)
    write_ssl4eo_v11(file, ["0000173"], "S2L1C")
    with zarr.storage.ZipStore(file, mode="r") as store, xr.open_zarr(store, consolidated=False) as plain:
        arrays = {name: (plain[name].dims, plain[name].values) for name in (*plain.data_vars, *plain.coords)}
    arrays["bands"][1][0, 0, :, :6, :6] = 0
    arrays["bands"][1][0, 0, :, 6:12, :6] = 1000
    from tests.shards.corpora.replica import write_zarr_zip

    write_zarr_zip(file, arrays, {"bands": (1, 1, 13, SIDE, SIDE)})
    build([str(file)], tmp_path / "out", BuildOptions(SIDE))
    found = ShardSet(tmp_path / "out")
    pixels = found.read(0).groups
    assert not pixels[10][:, :12, :6].any()
    assert pixels[10][:, 12:].all()
    assert not pixels[60][:, :2, :1].any()
    assert found.entries[0].valid_fraction == pytest.approx(1 - 12 * 6 / SIDE**2)
    assert next(iter(found.manifest["sources"].values()))["exact"] == {"exact_0": 36 * 13, "exact_1000": 36}


def test_parts_and_a_resumed_build_give_the_same_bytes(corpus, tmp_path, command):
    root = corpus[0]
    build([str(root)], tmp_path / "whole", BuildOptions(SIDE))
    arguments = ["shards", "build", root, "--side", SIDE, "--out", tmp_path / "parts"]
    for part in ("2/3", "1/3", "3/3", "1/3"):
        code, said = command(*arguments, "--part", part)
        assert code == 0, said
    assert command("shards", "finalize", tmp_path / "parts")[0] == 0
    one, other = (
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / name).iterdir()}
        for name in ("whole", "parts")
    )
    of_whole, of_parts = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("whole", "parts"))
    assert of_parts.pop("command")[1:3] == ["shards", "finalize"]
    assert of_whole | {"seal": of_parts["seal"]} == of_parts  # the seal is of the command too
    assert one | {"manifest.json": other["manifest.json"]} == other


def test_another_corpus_than_the_one_asked_for_is_refused(corpus, tmp_path, command):
    code, said = command("shards", "build", corpus[0], "--corpus", "major-tom", "--out", tmp_path / "out")
    assert (code, "holds nothing of Major TOM" in " ".join(said.split())) == (2, True)
    code, said = command("shards", "build", corpus[0], "--corpus", "major-tim", "--out", tmp_path / "out")
    assert (code, "Did you mean 'major-tom'" in " ".join(said.split())) == (2, True)
