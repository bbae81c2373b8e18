"""So2Sat LCZ42 as it is published: channels last, reflectance as floats, one-hot labels, no place."""

import numpy as np
import pytest

from bandloom.errors import LabelError, ShardError
from bandloom.finetune.public_sets.registry import recognise
from tests.finetune.public_sets.replicas import so2sat
from tests.finetune.public_sets.replicas.writing import assert_same, by_scene, prepared

h5py = pytest.importorskip("h5py")


def test_chips_of_version_2_hold_reflectance_and_their_class(tmp_path):
    truth = so2sat.write_v2(tmp_path / "so2sat")
    shards = prepared("so2sat", tmp_path / "so2sat", tmp_path / "out")
    roles = {"training": "train", "validation": "val", "testing": "test"}
    assert len(shards) == 9
    for key, index in by_scene(shards).items():
        name, number = key.split("-")
        chips, classes = truth[name]
        sample, entry = shards.read(index), shards.entries[index]
        assert_same(sample.groups, dict(zip(so2sat.BANDS, chips[int(number)], strict=True)), 36)
        assert (sample.class_index, entry.split, entry.epsg) == (classes[int(number)], roles[name], None)
    assert recognise(tmp_path / "so2sat") == ["so2sat"]


def test_version_3_needs_a_choice_and_gets_a_validation(tmp_path):
    so2sat.write_v3(tmp_path / "so2sat")
    with pytest.raises(LabelError, match="say which with --take"):
        prepared("so2sat", tmp_path / "so2sat", tmp_path / "out")
    shards = prepared("so2sat", tmp_path / "so2sat", tmp_path / "out", take="block")
    assert shards.manifest["published"]["splits"]["block"] == {"test": 2, "train": 7, "val": 1}


def test_labels_that_are_not_one_hot_and_digital_numbers_are_refused(tmp_path):
    so2sat.write_v2(tmp_path / "so2sat")
    with h5py.File(tmp_path / "so2sat" / "training.h5", "r+") as file:
        file["sen2"][...] = file["sen2"][...] * 10000
    shards = prepared("so2sat", tmp_path / "so2sat", tmp_path / "out")
    assert len(shards) == 5
    assert "its values have another scale" in (shards.path / "quarantine.jsonl").read_text()
    with h5py.File(tmp_path / "so2sat" / "training.h5", "r+") as file:
        file["label"][2] = 0
    with pytest.raises(LabelError, match="chip 2 is not one-hot"):
        prepared("so2sat", tmp_path / "so2sat", tmp_path / "two")


def test_a_file_without_sen2_is_refused(tmp_path):
    so2sat.write_v2(tmp_path / "so2sat")
    with h5py.File(tmp_path / "so2sat" / "testing.h5", "r+") as file:
        del file["sen2"]
    with pytest.raises((LabelError, ShardError), match="cannot be read as HDF5"):
        prepared("so2sat", tmp_path / "so2sat", tmp_path / "out")


def test_chips_without_a_place_are_trained_and_scored_on(tmp_path):
    from bandloom.cli import main
    from bandloom.scores import read_scores

    so2sat.write_v2(tmp_path / "so2sat")
    for name in ("training", "validation", "testing"):
        with h5py.File(tmp_path / "so2sat" / f"{name}.h5", "r+") as file:
            file["label"][...] = np.eye(17)[np.arange(len(file["label"])) % 2]
    prepared("so2sat", tmp_path / "so2sat", tmp_path / "set")
    few = ["trainer.steps=2", "trainer.batch_size=4", "size=demo", "baselines=[majority]", "compare_random=false"]
    few += ["bootstrap=10", "band_drops=false", "seeds=1"]
    with pytest.raises(SystemExit) as end:
        main(["finetune", str(tmp_path / "set" / "finetune.yaml"), *few, "--out", str(tmp_path / "run")])
    assert not end.value.code
    assert read_scores(tmp_path / "run" / "metrics.json").split["kind"] == "published: official"
