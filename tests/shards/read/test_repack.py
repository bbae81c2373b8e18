import json

import numpy as np
import pytest

from bandloom.run_state.trained_on import content_of
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.read.verify import verify

NAMES = ("archive", "speed", "again")


@pytest.mark.parametrize("codec", ["speed", "default", "archive"])
def test_repacked_samples_are_the_same_and_their_folder_verifies(shards, tmp_path, command, codec):
    code, said = command("shards", "repack", shards, "--codec", codec, "--out", tmp_path / "out")
    assert code == 0, said
    old, new = ShardSet(shards), ShardSet(tmp_path / "out")
    assert verify(tmp_path / "out", deep=True) == []
    assert new.statistics == old.statistics
    assert [e.split for e in new.entries] == [e.split for e in old.entries]
    for index in range(0, len(old), 5):
        one, two = old.read(index), new.read(index)
        assert (one.key, one.meta) == (two.key, two.meta)
        for gsd in one.groups:
            np.testing.assert_array_equal(one.groups[gsd], two.groups[gsd])
        np.testing.assert_array_equal(one.label, two.label)
    sizes = [sum(tar["bytes"] for tar in each.manifest["shards"]) for each in (old, new)]
    assert {"speed": sizes[1] > sizes[0], "default": sizes[1] == sizes[0], "archive": sizes[1] < sizes[0]}[codec]
    assert command("shards", "stats", tmp_path / "out")[0] == 0


def test_a_repacked_folder_is_what_a_build_with_that_codec_gives(synthetic, tmp_path, command):
    for codec in ("speed", "archive"):
        build([str(synthetic / "scenes")], tmp_path / codec, BuildOptions(120, codec=codec))
    assert command("shards", "repack", tmp_path / "speed", "--codec", "archive", "--out", tmp_path / "again")[0] == 0
    built, speed, again = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in NAMES)
    of_build, of_speed, of_again = (json.loads(files.pop("manifest.json")) for files in (built, speed, again))
    assert again == built
    assert of_again.pop("content") == content_of(of_speed) != content_of(of_build)  # by which a run knows them
    for manifest in (of_again, of_build):
        del manifest["seal"]
    assert of_again == of_build


def test_damage_stops_a_repack_with_nothing_left(shards, tmp_path, command):
    import shutil

    shutil.copytree(shards, tmp_path / "copy")
    tar = next((tmp_path / "copy").glob("*.tar"))
    content = bytearray(tar.read_bytes())
    offset, size = ShardSet(shards).entries[0].members["g10.b2nd"]
    content[offset + size // 2] ^= 1
    tar.write_bytes(content)
    code, said = command("shards", "repack", tmp_path / "copy", "--codec", "speed", "--out", tmp_path / "out")
    assert (code, "copy" in said) == (2, True)
    assert not (tmp_path / "out").exists()
    assert command("shards", "repack", shards, "--codec", "zip", "--out", tmp_path / "out")[0] == 2
