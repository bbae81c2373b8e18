"""PASTIS as it is published: one date or the median of all, void without a label, folds as splits, no place."""

import numpy as np
import pytest

from bandloom.errors import LabelError, ShardError
from bandloom.finetune.public_sets.registry import recognise
from tests.finetune.public_sets.replicas import pastis
from tests.finetune.public_sets.replicas.writing import assert_same, by_scene, prepared


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    root = tmp_path_factory.mktemp("pastis") / "PASTIS-R"
    return root, pastis.write(root)


def reflectance(values):
    return {band: np.where(values[i] <= -1000, np.nan, values[i] / 10000) for i, band in enumerate(pastis.BANDS)}


def test_the_median_of_what_was_measured_has_no_cloud(replica, tmp_path):
    root, truth = replica
    shards = prepared("pastis", root, tmp_path / "out")
    for key, index in by_scene(shards).items():
        stack, codes = truth[int(key.rpartition("-")[2])]
        measured = np.where(stack == -10_000, np.nan, stack.astype(float))
        measured[:, :, 20, 20] = -2000  # of no date
        sample, entry = shards.read(index), shards.entries[index]
        assert_same(sample.groups, reflectance(np.rint(np.nanmedian(measured, 0))), 132)
        np.testing.assert_array_equal(sample.label[:128, :128], np.where(codes == 19, 255, codes))
        fold = int(key[-1])
        assert entry.published["official"] == ("train", "train", "train", "val", "test")[fold - 1]
        assert entry.published["fold2"] == ("test", "train", "train", "train", "val")[fold - 1]
        assert entry.published["fold5"] == ("train", "train", "val", "test", "train")[fold - 1]
        assert (entry.epsg, entry.datetime) == (None, None)
    assert recognise(root.parent) == ["pastis"]


@pytest.mark.parametrize(("take", "number"), [("2018-09-24", 1), ("2", 2)])
def test_one_date_is_that_date(replica, tmp_path, take, number):
    root, truth = replica
    shards = prepared("pastis", root, tmp_path / "out", take=take)
    for key, index in by_scene(shards).items():
        assert_same(shards.read(index).groups, reflectance(truth[int(key.rpartition("-")[2])][0][number]), 132)
        assert shards.entries[index].datetime.startswith(("2018-09-24", "2018-10-02")[number - 1])


def test_what_is_not_there_is_refused(replica, tmp_path):
    root, _ = replica
    with pytest.raises(ShardError, match="has no date 2020-01-01"):
        prepared("pastis", root, tmp_path / "out", take="2020-01-01")
    with pytest.raises(LabelError, match="it knows median"):
        prepared("pastis", root, tmp_path / "out", take="summer")
    folder = tmp_path / "set"
    pastis.write(folder)
    np.save(folder / "DATA_S2" / "S2_10001.npy", np.array([object()]), allow_pickle=True)
    shards = prepared("pastis", folder, tmp_path / "two")
    assert "cannot be read as an array" in (shards.path / "quarantine.jsonl").read_text()
