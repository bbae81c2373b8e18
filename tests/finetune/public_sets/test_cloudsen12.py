"""CloudSEN12+ as a label set: labels pixel for pixel, 99 without one, roles, kinds of patches, damage."""

import numpy as np
import pytest

from bandloom.errors import LabelError
from bandloom.finetune.public_sets import cloudsen12
from bandloom.finetune.public_sets.registry import recognise
from tests.finetune.public_sets.replicas.writing import by_scene, prepared
from tests.shards.corpora import cloudsen_replica as replica
from tests.shards.corpora.replica import truth_of


@pytest.fixture(autouse=True)
def small_patches(monkeypatch):
    monkeypatch.setattr(cloudsen12, "_SMALL_PX", replica.SIDE)


@pytest.mark.parametrize("level", ["l1c", "l2a"])
def test_labels_lie_on_their_pixels_and_roles_are_the_published(tmp_path, level):
    truth = replica.write(tmp_path / "set", level)
    shards = prepared(f"cloudsen12-{level}", tmp_path / "set", tmp_path / "out")
    found = by_scene(shards)
    assert sorted(found) == list(truth)[:3]
    for role, (name, index) in zip(("train", "val", "test"), sorted(found.items()), strict=True):
        bands, label, _ = truth[name]
        sample, side = shards.read(index), replica.SIDE
        np.testing.assert_array_equal(sample.label[:side, :side], label)
        assert (sample.label[side:] == 255).all()
        wanted = truth_of(bands).group(10)
        np.testing.assert_array_equal(sample.groups[10][:, :side, :side], wanted)
        assert shards.entries[index].published == {"official": role}
    assert recognise(tmp_path / "set") == [f"cloudsen12-{level}"]


def test_scribbles_are_labelled_where_they_are(tmp_path):
    replica.write(tmp_path / "set")
    shards = prepared("cloudsen12-l1c", tmp_path / "set", tmp_path / "out", take="scribble")
    (index,) = by_scene(shards).values()
    label = shards.read(index).label[: replica.SIDE, : replica.SIDE]
    assert (label[4:6] == 1).all()
    assert (np.delete(label, [4, 5], 0) == 255).all()


def test_a_kind_of_patch_that_is_not_there_is_said(tmp_path):
    replica.write(tmp_path / "set", kinds=("nolabel", "nolabel"))
    with pytest.raises(LabelError, match="has no patch for --take high: patches of 509"):
        prepared("cloudsen12-l1c", tmp_path / "set", tmp_path / "out")


def test_a_part_that_was_cut_short_is_refused(tmp_path):
    replica.write(tmp_path / "set")
    part = tmp_path / "set/cloudsen12-l1c.0001.part.taco"
    part.write_bytes(part.read_bytes()[:-50])
    with pytest.raises(Exception, match="cut short"):
        prepared("cloudsen12-l1c", tmp_path / "set", tmp_path / "out")


def test_a_part_named_after_the_other_level_is_quarantined(tmp_path):
    replica.write(tmp_path / "set", "l2a")
    for part in (tmp_path / "set").glob("cloudsen12-l2a*"):
        part.rename(part.with_name(part.name.replace("l2a", "l1c")))
    with pytest.raises(Exception, match=r"name it after its level|no sample|quarantine"):
        prepared("cloudsen12-l1c", tmp_path / "set", tmp_path / "out")
