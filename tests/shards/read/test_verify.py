import json
import shutil

import pytest

from bandloom.errors import ShardError
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.read.verify import verify


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


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("manifest.json", '"B02": 0.', '"B02": 1.', "its seal differs"),
        ("manifest.json", '"seal"', '"sael"', "its seal differs"),
        ("samples.jsonl", '"split":"train"', '"split":"test"', "its sha256 differs"),
    ],
)
def test_a_changed_manifest_or_index_is_not_opened(copy, name, old, new, sentence):
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1))
    with pytest.raises(ShardError, match=sentence):
        ShardSet(copy)


def test_a_changed_histogram_is_found_before_statistics_are_made_of_it(copy, command):
    path = next(copy.glob("*.histograms.npz"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "histograms.npz has changed" in verify(copy)[0]
    code, said = command("shards", "stats", copy)
    assert (code, "copy it again" in " ".join(said.split())) == (2, True)


def test_folders_of_format_1_which_has_no_seal_are_read(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["seal"], manifest["files"]
    (copy / "manifest.json").write_text(json.dumps(manifest | {"version": 1}))
    assert verify(copy, deep=True) == []
    (copy / "manifest.json").write_text(json.dumps(manifest | {"version": 3}))
    with pytest.raises(ShardError, match="expected 2 or less"):
        ShardSet(copy)


def test_statistics_of_another_split_come_from_the_same_histograms(shards, command):
    import numpy as np

    from bandloom.shards.build.statistics import split_statistics

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
