import shutil

import numpy as np
import pytest

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from tests.shards.safe_product import NAME, native_bands, write_safe


def test_an_exact_copy_of_a_scene_is_kept_out_of_every_split_and_of_the_statistics(tmp_path, write_stack):
    folder = tmp_path / "scenes"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        write_stack(folder / f"{name}.tif", rng.integers(1010, 1200, (13, 96, 108), dtype=np.uint16))
    build([str(folder)], tmp_path / "once", BuildOptions(120, split="train"))
    shutil.copy(folder / "a.tif", folder / "c.tif")
    build([str(folder)], tmp_path / "twice", BuildOptions(120, split="train"))
    once, twice = ShardSet(tmp_path / "once"), ShardSet(tmp_path / "twice")
    assert [e.split for e in twice.entries] == ["train", "train", "duplicate"]
    assert twice.indices().tolist() == [0, 1]
    assert twice.statistics == once.statistics


@pytest.mark.parametrize(
    ("time_b", "owned"),
    [("2024-05-01T10:00:00", 1), ("2024-05-01T10:00:24", 1), ("2024-05-01T11:40:00", 2), ("2024-05-06T10:00:00", 2)],
)
def test_ground_that_two_granules_of_one_pass_share_has_one_owner(tmp_path, write_stack, time_b, owned):
    rng = np.random.default_rng(1)
    for name, x, time in (("a", 500_040, "2024-05-01T10:00:00"), ("b", 500_040 + 120, time_b)):
        pixels = rng.integers(1010, 1200, (13, 96, 96), dtype=np.uint16)
        tags = {"RADIO_ADD_OFFSET": "-1000", "ACQUISITION_TIME": time}
        write_stack(tmp_path / f"{name}.tif", pixels, tags=tags, origin=(x, 5_300_040))
    build([str(tmp_path / "a.tif"), str(tmp_path / "b.tif")], tmp_path / "out", BuildOptions(96))
    assert len(ShardSet(tmp_path / "out").indices()) == owned


def test_of_one_granule_processed_twice_the_newest_baseline_owns_the_ground(tmp_path):
    native = native_bands()
    write_safe(tmp_path / "scenes", native, offset=0, baseline="02.04", name=NAME.replace("N0509", "N0204"))
    changed = {band: pixels + 1 for band, pixels in native.items()}
    write_safe(tmp_path / "scenes", changed, name=NAME)
    build([str(tmp_path / "scenes")], tmp_path / "out", BuildOptions(60))
    owners = {entry.key.split("_")[3] for entry in ShardSet(tmp_path / "out").entries if entry.split != "duplicate"}
    assert owners == {"N0509"}
