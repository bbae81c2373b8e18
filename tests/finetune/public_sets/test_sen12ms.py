"""DFC2020 and SEN12MS as they are published: labels found by name, 0 not told, the first of four bands."""

import numpy as np
import pytest

from bandloom.errors import LabelError
from bandloom.finetune.public_sets.registry import recognise
from tests.finetune.public_sets.replicas import sen12ms
from tests.finetune.public_sets.replicas.writing import assert_same, by_scene, prepared, write_tif


def assert_patches(shards, truth):
    places = by_scene(shards)
    assert set(places) == set(truth)
    for name, index in places.items():
        stack, label = truth[name]
        sample, (height, width) = shards.read(index), label.shape
        assert_same(sample.groups, {band: stack[i] / 10000 for i, band in enumerate(sen12ms.ORDER)}, 258)
        codes = np.append(np.array([c.code for c in shards.label_set.classes]), [0])
        got = codes[np.where(sample.label == 255, len(codes) - 1, sample.label)]
        np.testing.assert_array_equal(got[:height, :width], label)
        assert (sample.label[height:] == 255).all()


def test_dfc2020_has_three_ways_to_be_split(tmp_path):
    truth = sen12ms.write_dfc2020(tmp_path / "dfc")
    shards = prepared("dfc2020", tmp_path / "dfc", tmp_path / "out")
    assert_patches(shards, truth)
    assert shards.manifest["published"]["default"] == "copernicus-bench"
    for entry in shards.entries:
        tests = entry.key.startswith("ROIs0000_test")
        assert (entry.published["contest"] == "test") == tests
        assert (entry.published["swapped"] == "test") == (not tests)
    by_split = shards.manifest["published"]["splits"]
    assert by_split["contest"] == by_split["swapped"] == {"test": 4, "train": 2, "val": 2}  # whole scenes validate
    assert recognise(tmp_path / "dfc") == ["dfc2020"]


def test_sen12ms_reads_lists_that_name_radar(tmp_path):
    truth = sen12ms.write_sen12ms(tmp_path / "set")
    shards = prepared("sen12ms", tmp_path / "set", tmp_path / "out")
    assert_patches(shards, truth)
    assert shards.manifest["published"]["splits"]["official"] == {"test": 2, "train": 2, "val": 2}
    assert recognise(tmp_path / "set") == ["sen12ms"]


def test_labels_of_another_edition_are_refused(tmp_path):
    sen12ms.write_sen12ms(tmp_path / "set")
    path = tmp_path / "set" / "ROIs1970_fall" / "lc_44" / "ROIs1970_fall_lc_44_p30.tif"
    write_tif(path, np.ones((1, 24, 24), np.uint8))
    shards = prepared("sen12ms", tmp_path / "set", tmp_path / "out")
    assert "has 1 bands; expected 4" in (shards.path / "quarantine.jsonl").read_text()
    (tmp_path / "set" / "test_list.txt").unlink()
    with pytest.raises(LabelError, match=r"has no test_list\.txt"):
        prepared("sen12ms", tmp_path / "set", tmp_path / "two")
