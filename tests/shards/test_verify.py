import shutil

import pytest

from shards.shard_set import ShardSet
from shards.verify import verify


@pytest.fixture
def copy(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "copy")
    return tmp_path / "copy"


def test_fresh_shards_are_as_they_were_written(shards, command):
    assert verify(shards, deep=True) == []
    assert command("shards", "verify", shards)[0] == 0


def test_one_changed_byte_is_found_by_the_tars_sum_and_at_depth_named(copy, command):
    found = ShardSet(copy)
    offset, size = found.entries[7].members["g20.b2nd"]
    tar = copy / found.entries[7].shard
    content = bytearray(tar.read_bytes())
    content[offset + size // 2] ^= 1
    tar.write_bytes(content)
    assert "its sha256 differs" in verify(copy)[0]
    assert any(found.entries[7].key in problem for problem in verify(copy, deep=True))
    code, said = command("shards", "verify", copy)
    assert code == 2
    assert "copy it again" in said


def test_missing_cut_and_strange_tars_are_named(copy):
    tar = next(copy.glob("*.tar"))
    content = tar.read_bytes()
    tar.write_bytes(content[:-512])
    (copy / "99999-000.tar").touch()
    problems = verify(copy)
    assert "expected" in problems[0]
    assert "99999-000.tar is not in the manifest" in problems[1]
    tar.unlink()
    assert "is missing" in verify(copy)[0]


def test_statistics_of_another_split_come_from_the_same_histograms(shards, command):
    import numpy as np

    from shards.statistics import split_statistics

    found = ShardSet(shards)
    stats = split_statistics(shards, found.manifest["sensors"], found.entries, "val")
    nir = np.stack([found.read(i).groups[10][3] for i in found.indices("val")]).astype(float)
    assert stats["mean"]["B08"] == pytest.approx(((nir - 1000) / 1e4).mean(), abs=1e-9)
    assert stats["quantiles"]["B08"]["0.5"] == pytest.approx((np.median(nir) - 1000) / 1e4, abs=1e-4)
    assert command("shards", "stats", shards, "--split", "val")[0] == 0
    assert command("shards", "stats", shards, "--split", "dev")[0] == 2


def test_a_plan_counts_without_writing(synthetic, command, tmp_path):
    code, said = command("shards", "plan", synthetic / "scenes", "--side", "120")
    assert code == 0
    assert "6 scenes, 24 samples" in " ".join(said.split())
