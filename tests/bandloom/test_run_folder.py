"""The run folder: what it accepts, what it keeps and what it forgets."""

import json
from pathlib import Path

import pytest

from bandloom.errors import RunFolderError
from bandloom.run_folder import RunFolder
from bandloom.trainer import TrainerConfig


def test_the_same_run_is_accepted_and_another_is_not(tmp_path: Path):
    RunFolder(tmp_path / "run").start(TrainerConfig(steps=5))
    RunFolder(tmp_path / "run").start(TrainerConfig(steps=5))
    with pytest.raises(RunFolderError, match="steps was 5, is 6"):
        RunFolder(tmp_path / "run").start(TrainerConfig(steps=6))


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="no run folder"):
        RunFolder(tmp_path).start(TrainerConfig())


def test_from_scratch_leaves_a_launchers_files(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    run.start(TrainerConfig(steps=5))
    for kept in ("owner", "job.sh"):
        (run.path / kept).touch()
    for lost in ("DONE", "saved"):
        (run.path / lost).touch()
    (run.path / "snapshots" / "step-00000001").mkdir(parents=True)
    run.start(TrainerConfig(steps=6), from_scratch=True)
    assert (run.path / "owner").exists()
    assert (run.path / "job.sh").exists()
    assert not any((run.path / lost).exists() for lost in ("DONE", "saved", "snapshots"))


def test_steps_that_are_done_again_are_forgotten_and_half_a_line_too(tmp_path: Path):
    with RunFolder(tmp_path / "run") as run:
        run.start(TrainerConfig())
        for step in (1, 2, 3):
            run.log(step, "train", loss=step / 2)
        run.log(3, "event", event="skipped")
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "ki')
    run.forget_after(1)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["kind"]) for line in lines] == [(1, "train"), (3, "event")]
    assert run.metrics("train")[0]["loss"] == 0.5
