"""What a run was trained on: other shards in the place of its own are refused, or noted where it is resumed."""

import json
import logging

import pytest

from bandloom.errors import RunFolderError
from bandloom.run_state.run_folder import RunFolder
from bandloom.run_state.trained_on import DATA, keep_data

OURS = {
    "samples": 12,
    "side_px": 60,
    "splits": {"train": 12},
    "statistics": {"mean": {"B02": 0.1}},
    "seal": "a",
    "files": {"samples.jsonl": "c0ffee"},
}
OTHERS = [
    OURS | {"samples": 4},
    OURS | {"splits": {"train": 8, "val": 4}},
    OURS | {"statistics": {"mean": {"B02": 0.2}}},
    OURS | {"side_px": 120},
    OURS | {"quantity": {"name": "height", "unit": "ft"}},
    OURS | {"labelled": 3},
    OURS | {"files": {"samples.jsonl": "other labels"}},
]
PACKED_AGAIN = {
    "seal": "b",
    "shards": [{"tar": "other.tar"}],
    "made_by": "later",
    "files": {"samples.jsonl": "of another codec"},
    "content": "c0ffee",
}


def trained(path, step=4):
    keep_data(RunFolder(path), OURS)
    (path / "snapshots" / f"step-{step:08}").mkdir(parents=True)
    return path


@pytest.mark.parametrize("other", OTHERS)
def test_other_shards_are_refused_and_a_resumed_run_notes_them_with_its_step(tmp_path, caplog, other):
    (tmp_path / "run").mkdir()
    run = trained(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"has trained 4 steps on other shards \(12 samples.*put those back"):
        keep_data(RunFolder(run), other)
    keep_data(RunFolder(run), OURS)  # put back
    assert not (run / "changes.jsonl").exists()
    with caplog.at_level(logging.WARNING, "bandloom"):
        keep_data(RunFolder(run, goes_on=True), other)
    assert "from step 4 on the run trains on other shards" in caplog.text
    (line,) = map(json.loads, (run / "changes.jsonl").read_text().splitlines())
    assert (line["key"], line["step"], line["was"]["samples"]) == ("shards", 4, 12)
    keep_data(RunFolder(run), other)  # these are the run's own now


def test_the_same_samples_packed_again_are_the_same_shards(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    trained(run)
    keep_data(RunFolder(run), OURS | PACKED_AGAIN)
    assert not (run / "changes.jsonl").exists()


@pytest.mark.parametrize("held", [None, "", "[1]", '{"samples": 3}'])
def test_a_run_that_kept_no_record_goes_on_and_keeps_one(tmp_path, held):
    (tmp_path / "snapshots" / "step-00000004").mkdir(parents=True)
    if held is not None:
        (tmp_path / DATA).write_text(held)
    keep_data(RunFolder(tmp_path), OURS)
    assert json.loads((tmp_path / DATA).read_text())["samples"] == 12


def test_a_run_without_a_step_may_begin_with_what_there_is(tmp_path):
    keep_data(RunFolder(tmp_path), OURS)
    keep_data(RunFolder(tmp_path), OTHERS[0])
    assert json.loads((tmp_path / DATA).read_text())["samples"] == 4


def test_a_run_of_before_labels_were_noted_goes_on(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    trained(run)
    record = json.loads((run / DATA).read_text())
    del record["labels"], record["content"]
    (run / DATA).write_text(json.dumps(record))
    keep_data(RunFolder(run), OURS)
    assert "labels" in json.loads((run / DATA).read_text())
