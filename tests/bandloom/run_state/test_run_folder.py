"""The run folder: what it accepts, what it keeps and what it forgets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bandloom.command_line.config import config_of_run
from bandloom.command_line.typed import typed
from bandloom.errors import ConfigError, MissingExtraError, RunFolderError
from bandloom.run_state.run_folder import RunFolder
from bandloom.training.engine import EngineConfig
from bandloom.training.trainer import TrainerConfig


def test_the_same_run_is_accepted_and_another_is_not(tmp_path: Path):
    RunFolder(tmp_path / "run").start(TrainerConfig(steps=5))
    RunFolder(tmp_path / "run").start(TrainerConfig(steps=5))
    with pytest.raises(RunFolderError, match=r"seed was 0, is 1.* cannot change on the way"):
        RunFolder(tmp_path / "run").start(TrainerConfig(steps=5, seed=1))
    for scratch, way in ((None, "or remove it"), (False, "or pass --from-scratch to replace it")):  # as the verb has it
        with pytest.raises(RunFolderError, match=f"choose another --out, {way}"):
            RunFolder(tmp_path / "run").start(TrainerConfig(steps=5, seed=1), from_scratch=scratch)


def test_what_may_change_goes_on_when_asked_and_is_noted_with_its_step(tmp_path: Path):
    run = tmp_path / "run"
    RunFolder(run).start(TrainerConfig(steps=5))
    (run / "snapshots" / "step-00000004").mkdir(parents=True)
    (run / "DONE").touch()
    changed = TrainerConfig(steps=8, batch_size=16, engine=EngineConfig(lr=1e-4, precision="fp32"), workers=1)
    with pytest.raises(RunFolderError, match=rf"--resume {run} trainer.*=|--resume {run} .*="):
        RunFolder(run).start(changed)
    assert (run / "DONE").exists()
    RunFolder(run, goes_on=True).start(changed)
    lines = [json.loads(line) for line in (run / "changes.jsonl").read_text().splitlines()]
    assert {(line["key"], line["step"]) for line in lines} == {
        (key, 4) for key in ("steps", "batch_size", "engine.lr", "engine.precision")
    }
    assert next(line for line in lines if line["key"] == "steps")["is"] == 8
    assert not (run / "DONE").exists()
    RunFolder(run).start(changed)  # it is the run's own config now
    with pytest.raises(RunFolderError, match="has done 4 steps"):
        RunFolder(run, goes_on=True).start(changed.with_changes(steps=3))


def test_what_another_verb_made_is_not_replaced(tmp_path: Path):
    config = TrainerConfig(steps=5)
    with typed(["finetune", "my.yaml"]):
        RunFolder(tmp_path / "run").start(config)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*")}
    for verb in ("probe", "baselines", "evaluate"):
        with typed([verb, "my.yaml"]), pytest.raises(RunFolderError, match=rf"made, which `bandloom {verb}` would"):
            RunFolder(tmp_path / "run").start(config)
        with typed([verb, "--resume", "run"]), pytest.raises(ConfigError, match="what `bandloom finetune` made; go on"):
            config_of_run(TrainerConfig, None, [], tmp_path, tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*")} == before
    for words in (["--debug", "finetune", "my.yaml"], ["probe"]):
        with typed(words):
            RunFolder(tmp_path / "run").start(config, from_scratch=words == ["probe"])
    RunFolder(tmp_path / "run").start(config)  # by Python code, which typed nothing


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


def test_two_attempts_report_to_one_run_at_weights_and_biases(tmp_path: Path):
    pytest.importorskip("wandb", reason="the extra bandloom[wandb] is not installed")
    attempt = (
        "import sys\nfrom pathlib import Path\nfrom bandloom.run_state.run_folder import RunFolder\n"
        "from bandloom.training.trainer import TrainerConfig\n"
        "run = RunFolder(Path(sys.argv[1]))\nrun.start(TrainerConfig(steps=5))\nrun.report_to('trial')\n"
        "run.log(int(sys.argv[2]), 'train', loss=0.5)\nrun.end_report()\nrun.close()\n"
    )
    for step in ("3", "2"):  # a resumed run takes steps again
        environment = os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
        subprocess.run([sys.executable, "-c", attempt, str(tmp_path / "run"), step], env=environment, check=True)
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    assert {file.stem for file in files} == {"run-" + (tmp_path / "run" / "wandb_id").read_text()}
    assert all(b"train/loss" in file.read_bytes() for file in files)


def test_a_missing_wandb_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    run = RunFolder(tmp_path / "run")
    run.start(TrainerConfig())
    with pytest.raises(MissingExtraError, match=r"bandloom\[wandb\]"):
        run.report_to("trial")
