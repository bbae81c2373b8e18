"""Whole pretraining runs on real shards, killed and resumed: what follows is what would have followed."""

import json
import os
import random
import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from bandloom.cli import main
from bandloom.command_line.config import config_of_run, load_config
from bandloom.errors import CheckpointError, ConfigError, RunFolderError
from bandloom.export.from_torch.export_run import load_model
from bandloom.finetune.model.checkpoint import save_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.checkpoint import load_encoder
from bandloom.pretrain.config import PretrainConfig
from bandloom.pretrain.start import ALONE, start_of
from bandloom.sensors import get_sensor
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.synth import label_set
from bandloom.training.snapshots import Snapshots
from tests.bandloom.tiny_training import Ranked
from tests.pretrain.pretraining_process import pretrain
from tests.public_encoder_folders import tiny_galileo

pytestmark = pytest.mark.timeout(1200)  # processes start slowly on a busy machine
PRETRAIN = "tests.pretrain.pretraining_process:pretrain"


def config_of(shards: Path, **trainer: Any) -> dict[str, Any]:
    engine = {"precision": "fp32", "warmup_steps": 2}
    settings = {"steps": 10, "batch_size": 4, "snapshot_every": 2, "log_every": 1, "engine": engine} | trainer
    return {"shards": str(shards), "size": "demo", "crop_px": 36, "split": None, "drop_path": 0.1, "trainer": settings}


def notes_of(folder: Path, rank: int = 0) -> dict[int, dict[str, Any]]:
    lines = (folder / f"steps-{rank}.jsonl").read_text().splitlines() if folder.is_dir() else []
    return {record["step"]: record for record in map(json.loads, lines)}


def wait_for_step(ranked: Ranked, folder: Path, step: int) -> None:
    ranked.wait_until(lambda: (folder / "steps-0.jsonl").exists() and max(notes_of(folder), default=0) >= step)


@pytest.fixture(scope="module")
def straight(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("straight")
    assert pretrain(str(folder / "run"), config_of(shards), str(folder)) == {"code": 0}
    return notes_of(folder)


def test_two_kills_change_no_loss_and_no_sample(shards: Path, tmp_path: Path, straight: dict[int, dict[str, Any]]):
    rng = random.Random(1)
    config = config_of(shards)
    for kill in range(3):
        arguments = {"run": str(tmp_path / "run"), "config": config, "notes": str(tmp_path / "notes")}
        ranked = Ranked(PRETRAIN, 1, tmp_path, step_s=0.05, **arguments)
        if kill < 2:
            wait_for_step(ranked, tmp_path / "notes", 2 + 3 * kill)
            time.sleep(rng.uniform(0, 0.2))
            ranked.kill()
            assert ranked.processes[0].exitcode == -signal.SIGKILL
        else:
            assert ranked.outcome() == [{"code": 0}]
    assert notes_of(tmp_path / "notes") == straight
    assert load_encoder(tmp_path / "run" / "checkpoint").config.embed_dim == 128
    newest = sorted((tmp_path / "run" / "snapshots").glob("step-*"))[-1]
    assert load_encoder(newest / "encoder").config.embed_dim == 128


def test_two_ranks_then_one_then_two_see_every_sample_once(shards: Path, tmp_path: Path):
    config = config_of(shards, steps=6, snapshot_every=100)
    run, ids, done = tmp_path / "run", [], 0
    for world, until in ((2, 2), (1, 4), (2, 6)):
        notes = tmp_path / f"notes-{until}"
        ranked = Ranked(PRETRAIN, world, tmp_path, run=str(run), config=config, notes=str(notes), step_s=0.3)
        if until < 6:
            wait_for_step(ranked, notes, until)
            for process in ranked.processes[:1]:
                os.kill(process.pid or 0, signal.SIGTERM)
        codes = {result["code"] for result in ranked.outcome()}
        assert codes == {75 if until < 6 else 0}
        for rank in range(world):
            held = notes_of(notes, rank)
            assert sorted(held) == list(range(done + 1, max(held) + 1))
            ids += [key for record in held.values() for key in record["keys"]]
        done = max(notes_of(notes))
    assert done == 6
    assert len(ids) == 24
    assert max(Counter(ids).values()) == 1  # 24 samples make one epoch


def test_resume_takes_the_config_from_the_run(shards: Path, tmp_path: Path):
    run = tmp_path / "run"
    pretrain(str(run), config_of(shards, steps=2), str(tmp_path))
    config, folder = config_of_run(PretrainConfig, None, [], Path("elsewhere"), run)
    assert (config.trainer.steps, folder) == (2, run)
    changed, _ = config_of_run(
        PretrainConfig, Path("trainer.workers=0"), ["trainer.log_every=5"], Path("elsewhere"), run
    )
    assert (changed.trainer.workers, changed.trainer.log_every) == (0, 5)
    with pytest.raises(ConfigError, match="holds no run"):
        config_of_run(PretrainConfig, None, [], Path("elsewhere"), tmp_path)
    with pytest.raises(ConfigError, match="--resume RUN"):
        config_of_run(PretrainConfig, None, [], Path("elsewhere"), None)


def test_a_run_may_be_computed_otherwise_but_not_be_another(shards: Path, tmp_path: Path):
    run = str(tmp_path / "run")
    assert pretrain(run, config_of(shards, steps=2), str(tmp_path)) == {"code": 0}
    assert pretrain(run, config_of(shards, steps=2, workers=0, keep_last=1), str(tmp_path)) == {"code": 0}
    with pytest.raises(RunFolderError, match=r"trainer\.seed was 0, is 1"):
        pretrain(run, config_of(shards, steps=2, seed=1), str(tmp_path))


def bandloom(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


def test_a_run_that_diverged_goes_on_as_its_error_advises(shards: Path, tmp_path: Path, capsys):
    """The rate is so high that the weights overflow; the advice of the error is followed to the letter."""
    run, config = str(tmp_path / "run"), tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(config_of(shards, steps=12, snapshot_every=1)))
    rate = "trainer.engine.lr=1e37"
    assert bandloom("pretrain", str(config), rate, "trainer.engine.clip_grad_norm=1e30", "--out", run) == 2
    said = capsys.readouterr()
    advice = re.search(r"--resume (\S+) (trainer.engine.lr=\S+?)\.?\s", " ".join((said.out + said.err).split()) + " ")
    assert advice
    assert advice[1] == run
    for number in range(40):  # a tenth each time, until it learns
        lower = f"trainer.engine.lr={1e36 / 10**number:g}" if number else advice[2]
        if bandloom("pretrain", "--resume", run, lower) == 0:
            break
    lines = [json.loads(line) for line in (tmp_path / "run" / "changes.jsonl").read_text().splitlines()]
    assert lines[0]["key"] == "trainer.engine.lr"
    assert lines[0]["was"] == 1e37


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["crop_px=6", "token_m=60"], "0 would be hidden, and 1 must be; use larger chips (crop_px)"),
        (
            ["crop_px=12", "token_m=60", "objective.mask_ratio=0.3", "objective.kind=latent"],
            "1 would be hidden, and 2 must be",
        ),
        (["split=holdout"], "has no sample in the split 'holdout'"),
        (["shards=nowhere"], "nowhere holds no manifest"),
        (["checkpoint=nowhere"], "nowhere is no checkpoint"),
    ],
)
def test_what_is_refused_leaves_no_run_that_would_refuse_the_mended_config(
    shards: Path, tmp_path: Path, changes: list[str], said: str, capsys
):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config_of(shards, steps=2)))
    words = ("pretrain", str(tmp_path / "config.yaml"), *changes, "--out", str(tmp_path / "run"))
    assert bandloom(*words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_run_that_has_ended_goes_on_to_more_steps(shards: Path, tmp_path: Path):
    run, config = tmp_path / "run", tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(config_of(shards, steps=2)))
    assert bandloom("pretrain", str(config), "--out", str(run)) == 0
    assert bandloom("pretrain", str(config), "trainer.steps=4", "--out", str(run)) == 2
    changes = (
        *("trainer.steps=4", "trainer.batch_size=8", "trainer.engine.lr=1e-4", "trainer.engine.precision=bf16"),
        *("objective.mask_ratio=0.5", "objective.mask_block=2", "objective.band_dropout=0.1", "objective.beta=0.2"),
        "drop_path=0.2",
    )
    assert bandloom("pretrain", "--resume", str(run), *changes) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]
    noted = [json.loads(line) for line in (run / "changes.jsonl").read_text().splitlines()]
    assert {(line["key"], line["step"]) for line in noted} == {(change.partition("=")[0], 2) for change in changes}
    assert (run / "DONE").exists()


@pytest.mark.parametrize(
    "change", ["size=tiny", "token_m=120", "decoder.depth=1", "objective.kind=latent", "crop_px=24"]
)
def test_what_a_run_cannot_have_otherwise_is_refused_and_what_it_can_is_told(
    shards: Path, tmp_path: Path, capsys, change: str
):
    run, config = tmp_path / "run", tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(config_of(shards, steps=1)))
    assert bandloom("pretrain", str(config), "--out", str(run)) == 0
    before = (run / "config.yaml").read_text()
    capsys.readouterr()
    assert bandloom("pretrain", "--resume", str(run), "trainer.steps=2", change) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{change.partition('=')[0]} cannot change on the way, as drop_path, mask_ratio, mask_block, " in said
    assert "precision" in said
    assert (run / "config.yaml").read_text() == before
    assert (run / "DONE").exists()
    assert not (run / "changes.jsonl").exists()


def test_pretraining_starts_from_a_run_with_its_decoder_and_moments_or_from_an_encoder(shards: Path, tmp_path: Path):
    before, config = tmp_path / "before", tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(config_of(shards, steps=2)))
    assert bandloom("pretrain", str(config), "--out", str(before)) == 0
    shard_set = ShardSet(shards)
    started = start_of(load_config(PretrainConfig, config, [f"checkpoint={before}", "keep_optimizer=true"]), shard_set)
    held = Snapshots(before / "snapshots", ALONE).latest()
    assert held
    state = held.load()
    for name, value in started.model.state_dict().items():
        assert torch.equal(value, state[f"model.{name}"])
    assert started.state
    assert started.state.keys() == state.keys()
    encoder = start_of(load_config(PretrainConfig, config, [f"checkpoint={before / 'checkpoint'}"]), shard_set).model
    assert torch.equal(encoder.encoder.norm.weight, started.model.encoder.norm.weight)
    assert not torch.equal(encoder.decoder_pred.weight, started.model.decoder_pred.weight)
    after = ("--out", str(tmp_path / "after"))
    assert bandloom("pretrain", str(config), f"checkpoint={before}", "keep_optimizer=true", *after) == 0
    for wrong, said in (
        ([f"checkpoint={before / 'checkpoint'}", "keep_optimizer=true"], "no optimiser's state"),
        ([f"checkpoint={before}", "size=tiny"], "embed_dim=128"),
        ([f"checkpoint={before}", "decoder.depth=1"], "another decoder"),
    ):
        with pytest.raises(CheckpointError, match=said):
            start_of(load_config(PretrainConfig, config, wrong), shard_set)


def distilled(shards: Path, folder: Path, **trainer: Any) -> dict[str, Any]:
    """Return the config of a distillation from a tiny public teacher, on samples that are cropped."""
    teacher = folder / "galileo"
    if not teacher.exists():
        tiny_galileo(teacher)
    objective = {"kind": "distil", "teacher": str(teacher), "mask_ratio": 0.5, "pixel_weight": 0.5}
    return config_of(shards, **trainer) | {"objective": objective, "drop_path": 0.0}  # which ranks draw otherwise


def test_a_student_carries_its_teacher_s_licence_and_statistics(shards: Path, tmp_path: Path):
    run = tmp_path / "run"
    config = distilled(shards, tmp_path, steps=2, engine={"precision": "fp32", "accumulate": 2, "warmup_steps": 1})
    assert pretrain(str(run), config, str(tmp_path)) == {"code": 0}
    record = json.loads((run / "checkpoint" / "config.json").read_text())
    assert record["encoder_licence"]["name"] == "MIT"
    assert "Galileo" in record["provenance"]["teacher"]
    assert record["encoder_licence"]["conditions"] in (run / "checkpoint" / "README.md").read_text()
    statistics = load_file(run / "checkpoint" / "teacher.safetensors")
    assert statistics["whiten"].shape == (32, 32)
    newest = Snapshots(run / "snapshots", ALONE).latest()
    assert newest
    held = newest.load()
    assert torch.equal(held["model.objective.centre"], statistics["centre"])
    assert not [name for name in held if "teacher" in name]
    student = load_encoder(run / "checkpoint")
    assert (student.licence() or {})["hub"] == "mit"
    model = TaskModel(student, get_sensor("sentinel2-l1c"), label_set(), "segment", 36)
    save_task_model(tmp_path / "fine-tuned", model, {})
    assert record["encoder_licence"]["conditions"] in (tmp_path / "fine-tuned" / "README.md").read_text()
    _, provenance = load_model(tmp_path / "fine-tuned")
    assert provenance["encoder_licence"] == record["encoder_licence"]  # as the bundle has it
    assert student.untrained().licence() is None
    again = PretrainConfig(**config_of(shards), checkpoint=run / "checkpoint")  # pixels alone, from the student
    assert start_of(again, ShardSet(shards)).model.encoder.licence() == student.licence()


def test_a_run_keeps_its_visual_words_when_it_goes_on(shards: Path, tmp_path: Path):
    run, config = tmp_path / "run", tmp_path / "config.yaml"
    words = {"objective": {"kind": "visual_words", "codebook_size": 8}}
    config.write_text(yaml.safe_dump(config_of(shards, steps=2) | words))
    held = []
    for steps in (2, 4):
        given = (str(config), "--out", str(run)) if steps == 2 else ("--resume", str(run), "trainer.steps=4")
        assert bandloom("pretrain", *given) == 0
        newest = Snapshots(run / "snapshots", ALONE).latest()
        assert newest
        assert newest.step == steps
        held.append(newest.load())
    assert int(held[0]["model.objective.seen"]) >= 8
    for name in ("centre", "spread", "words", "sides", "seen"):
        assert torch.equal(held[1][f"model.objective.{name}"], held[0][f"model.objective.{name}"]), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["distil", "visual_words"])  # the second with a stem too
def test_a_kill_and_two_ranks_change_no_loss_of_a_prepared_objective(kind: str, shards: Path, tmp_path: Path):
    config = distilled(shards, tmp_path)
    if kind == "visual_words":
        config |= {"objective": {"kind": kind, "codebook_size": 16}, "stem_filters": 8}
    assert pretrain(str(tmp_path / "straight"), config, str(tmp_path / "expected")) == {"code": 0}
    expected = notes_of(tmp_path / "expected")
    arguments = {"run": str(tmp_path / "run"), "config": config, "notes": str(tmp_path / "notes")}
    ranked = Ranked(PRETRAIN, 1, tmp_path, step_s=0.05, **arguments)
    wait_for_step(ranked, tmp_path / "notes", 5)
    ranked.kill()
    assert Ranked(PRETRAIN, 1, tmp_path, **arguments).outcome() == [{"code": 0}]
    assert notes_of(tmp_path / "notes") == expected
    both = {"run": str(tmp_path / "two"), "config": config, "notes": str(tmp_path / "of-two")}
    assert Ranked(PRETRAIN, 2, tmp_path, **both).outcome() == [{"code": 0}, {"code": 0}]
    for step, record in notes_of(tmp_path / "of-two").items():
        assert record["loss"] == pytest.approx(expected[step]["loss"], rel=1e-4)


@pytest.mark.drill
def test_a_hundred_kills_change_no_loss_and_no_sample(shards: Path, tmp_path: Path):
    most = int(os.environ.get("BANDLOOM_DRILL", "100"))
    config = config_of(shards, steps=20 + 2 * most)
    assert pretrain(str(tmp_path / "straight"), config, str(tmp_path / "expected")) == {"code": 0}
    rng, kills = random.Random(2), 0
    arguments = {"run": str(tmp_path / "run"), "config": config, "notes": str(tmp_path / "notes")}
    while True:
        ranked = Ranked(PRETRAIN, 1, tmp_path, **arguments)
        if kills == most:
            assert ranked.outcome(600) == [{"code": 0}]
            break
        wait_for_step(ranked, tmp_path / "notes", 1 + max(notes_of(tmp_path / "notes"), default=0))
        time.sleep(rng.uniform(0, 0.4))
        ranked.kill()
        kills += ranked.processes[0].exitcode == -signal.SIGKILL
    assert notes_of(tmp_path / "notes") == notes_of(tmp_path / "expected")
