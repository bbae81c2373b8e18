"""Attributes of a Zarr array of pixels: packed values are refused, its fill value is absent, as xarray has it."""

import json
import warnings
import zipfile

import numpy as np
import pytest
import xarray as xr
import zarr

from bandloom.errors import BandloomError
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from tests.shards.corpora.replica import L1C, SIDE, copied, patch, write_ssl4eo_v11
from tests.shards.corpora.test_terramesh import write_sample, write_tar


def changed(path, member, change):
    """Write a zip again with one JSON member changed."""
    with zipfile.ZipFile(path) as old:
        members = {info.filename: old.read(info) for info in old.NameToInfo.values()}
    members[member] = json.dumps(change(json.loads(members[member]))).encode()
    members.pop(".zmetadata", None)
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)


def shard(folder, change, member=".zattrs"):
    """Build one sample of either set whose array of pixels says something else of itself."""
    made = patch(1, L1C, -1000, copied)
    file = write_sample(folder / "one.zarr.zip", made.pixels, L1C)
    changed(file, f"bands/{member}", change)
    write_tar(folder / "S2L1C/majortom_shard_000001.tar", {"433D_629L_3_1.zarr.zip": file.read_bytes()})
    other = folder / "v11/S2L1C/ssl4eos12_train_seasonal_data_000001.zarr.zip"
    write_ssl4eo_v11(other, ["0000173"], "S2L1C", how=copied)
    changed(other, f"bands/{member}", change)
    for name, place in (("a", folder / "S2L1C"), ("b", folder / "v11")):
        yield file if name == "a" else other, name, place


def said_of(place, out):
    """Return why a build leaves samples out, or refuses all of them."""
    try:
        build([str(place)], out, BuildOptions(SIDE))
    except BandloomError as error:
        return [str(error)]
    assert not len(ShardSet(out))
    return [json.loads(line)["reason"] for line in (out / "quarantine.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("told", [{"scale_factor": 2.0}, {"add_offset": -1000}, {"scale_factor": "1e-4"}])
def test_packed_values_are_refused_and_not_taken_as_they_lie(tmp_path, told):
    for _, name, place in shard(tmp_path, lambda old: old | told):
        reasons = said_of(place, tmp_path / name)
        assert reasons
        assert all(next(iter(told)) in reason for reason in reasons), reasons


def test_pixels_of_the_fill_value_are_absent_as_xarray_masks_them(tmp_path):
    level = {}
    for file, name, place in shard(tmp_path, lambda old: old | {"fill_value": 1777}, ".zarray"):
        with warnings.catch_warnings(), zarr.storage.ZipStore(file, mode="r") as store:
            warnings.simplefilter("ignore")
            with xr.open_zarr(store, consolidated=False) as plain:
                bands = plain["bands"].values.reshape(-1, SIDE, SIDE)[:13]
        level[name] = bands[[1, 2, 3, 7]]
        build([str(place)], tmp_path / name, BuildOptions(SIDE))
        read = ShardSet(tmp_path / name).read(0).groups[10]
        np.testing.assert_array_equal(read, np.nan_to_num(level[name], nan=0).astype(np.uint16))
    assert any(np.isnan(planes).any() for planes in level.values())


@pytest.mark.parametrize("dims", [5, None, ["band", 3, "y", "x"], ["time", "band", "y", "x", "z"]])
def test_dimensions_that_are_no_names_are_a_sentence(tmp_path, dims):
    for _, name, place in shard(tmp_path, lambda old: old | {"_ARRAY_DIMENSIONS": dims}):
        reasons = said_of(place, tmp_path / name)
        assert reasons
        assert all(reason.endswith(".") and "\n" not in reason for reason in reasons), reasons
