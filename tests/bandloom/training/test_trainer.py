"""The trainer on real processes: stop, kill, damage, bad samples, full disks; what follows is what would have been."""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bandloom.errors import TrainingError
from bandloom.training.snapshots import Snapshots
from tests.bandloom.tiny_training import Ranked, order, run_ranks, train

pytestmark = pytest.mark.timeout(1200)  # processes start slowly on a busy machine
CONFIG: dict[str, Any] = {
    "steps": 12,
    "batch_size": 8,
    "snapshot_every": 4,
    "log_every": 1,
    "engine": {"precision": "fp32", "lr": 1e-2, "warmup_steps": 2},
}


def steps_of(folder: Path, rank: int = 0) -> dict[int, dict[str, Any]]:
    """Return what was done at each step; a step done again counts as it was done last."""
    lines = (folder / f"steps-{rank}.jsonl").read_text().splitlines()
    return {record["step"]: record for record in map(json.loads, lines)}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    assert train(str(folder / "run"), CONFIG)["code"] == 0
    return steps_of(folder)


def stopped_by(how: str, run: Path, ranked: Ranked) -> None:
    if how == "TERM":
        for process in ranked.processes:
            assert process.pid
            os.kill(process.pid, signal.SIGTERM)
    elif how == "KILL":
        (run / "KILL").touch()
    else:
        (run / "attempts" / (run / "owner").read_text().strip() / "STOP").touch()


def wait_for_step(ranked: Ranked, folder: Path, step: int) -> None:
    ranked.wait_until(lambda: (folder / "steps-0.jsonl").exists() and max(steps_of(folder), default=0) >= step)


@pytest.mark.parametrize("how", ["TERM", "STOP", "KILL"])
def test_a_stop_saves_and_what_follows_is_bit_equal(how: str, tmp_path: Path, straight: dict[int, dict[str, Any]]):
    run = tmp_path / "run"
    ranked = Ranked("train", 1, tmp_path, run=str(run), config=CONFIG, step_s=0.05)
    wait_for_step(ranked, tmp_path, 2)
    stopped_by(how, run, ranked)
    [result] = ranked.outcome()
    assert result["code"] == 75
    end = json.loads(next(run.glob("attempts/*/end")).read_text())
    assert (end["reason"], end["code"], end["step"]) == ("stopped", 75, result["step"])
    assert (run / "snapshots" / f"step-{result['step']:08d}").is_dir()
    (run / "KILL").unlink(missing_ok=True)
    assert train(str(run), CONFIG)["code"] == 0
    assert steps_of(tmp_path) == straight
    assert (run / "DONE").exists()


@pytest.mark.parametrize(("warmup_steps", "said"), [(3, False), (4, True), (100, True)])
def test_a_warm_up_that_is_longer_than_the_run_is_said(tmp_path: Path, caplog, monkeypatch, warmup_steps, said):
    monkeypatch.setattr("bandloom.command_line.console.logger.propagate", True)
    engine = CONFIG["engine"] | {"warmup_steps": warmup_steps}
    assert train(str(tmp_path / "run"), CONFIG | {"steps": 3, "engine": engine})["code"] == 0
    assert (f"the warm-up of {warmup_steps} steps is longer than the run of 3" in caplog.text) == said


def test_the_metrics_hold_every_step_once_after_a_kill(tmp_path: Path, straight: dict[int, dict[str, Any]]):
    run = tmp_path / "run"
    ranked = Ranked("train", 1, tmp_path, run=str(run), config=CONFIG, step_s=0.05)
    wait_for_step(ranked, tmp_path, 6)
    ranked.kill()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"time": 1, "st')  # the kill fell into a write
    assert train(str(run), CONFIG)["code"] == 0
    assert steps_of(tmp_path) == straight
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 13))
    assert [line["loss"] for line in lines if line["kind"] == "train"] == [straight[s]["loss"] for s in range(1, 13)]


def test_other_worlds_take_each_sample_once(tmp_path: Path):
    """Two ranks, then one, then two again: the ids of the steps are those of the order, once each."""
    config = CONFIG | {"steps": 5, "snapshot_every": 100}
    ids: list[str] = []
    done = 0
    for world, until in ((2, 2), (1, 3), (2, 5)):
        place = tmp_path / f"part-{until}"
        place.mkdir()
        ranked = Ranked("train", world, place, run=str(tmp_path / "run"), config=config, step_s=0.3, log_to=str(place))
        if until < 5:
            wait_for_step(ranked, place, until)
            (tmp_path / "run" / "attempts" / (tmp_path / "run" / "owner").read_text().strip() / "STOP").touch()
        results = ranked.outcome()
        assert len({result["code"] for result in results}) == 1
        for rank in range(world):
            held = steps_of(place, rank)
            assert sorted(held) == list(range(done + 1, results[0]["step"] + 1))
            ids += [key for record in held.values() for key in record["keys"]]
        done = results[0]["step"]
    assert done == 5
    assert Counter(ids) == Counter(f"s{i:03d}" for i in order(0, 0))


@pytest.mark.parametrize("world", [1, 2])
def test_a_bad_sample_costs_its_step_alone(world: int, tmp_path: Path):
    bad = f"s{order(0, 0)[12]:03d}"
    config = CONFIG | {"steps": 4}
    results = run_ranks("train", world, tmp_path, run=str(tmp_path / "run"), config=config, poisoned=[bad])
    assert [result["code"] for result in results] == [0] * world
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    [event] = [line for line in lines if line["kind"] == "event"]
    assert event["step"] == 2
    keys = event["keys"].split(", ")
    assert bad in keys
    assert len(keys) == 8 // world  # only the rank that held it is named
    assert all(torch.isfinite(weight).all() for result in results for weight in result["weights"].values())


def test_many_bad_steps_in_a_row_end_the_run_and_name_the_samples(tmp_path: Path):
    config = CONFIG | {"engine": CONFIG["engine"] | {"max_skipped": 3}}
    poisoned = tuple(f"s{i:03d}" for i in order(0, 0)[8:32])
    with pytest.raises(TrainingError, match=f"3 steps in a row.*s{order(0, 0)[24]:03d}"):
        train(str(tmp_path / "run"), config, poisoned)
    end = json.loads(next((tmp_path / "run").glob("attempts/*/end")).read_text())
    assert end["reason"] == "failed"
    assert "TrainingError" in end["message"]


def test_a_killed_rank_ends_the_others_within_a_minute(tmp_path: Path):
    ranked = Ranked("train", 2, tmp_path, run=str(tmp_path / "run"), config=CONFIG | {"steps": 500}, die_at=5)
    began = time.monotonic()
    codes = ranked.wait(100)
    assert codes[1] == -9
    assert codes[0] not in (0, None, -9), "rank 0 hung, or ended as if all were well"
    assert time.monotonic() - began < 60 + 40  # the start included
    end = json.loads(next((tmp_path / "run").glob("attempts/*/end")).read_text())
    assert end["reason"] == "failed"


def test_an_orphan_writes_nothing_once_another_attempt_owns_the_run(tmp_path: Path):
    run = tmp_path / "run"
    ranked = Ranked("train", 1, tmp_path, run=str(run), config=CONFIG | {"steps": 5000}, step_s=0.02)
    wait_for_step(ranked, tmp_path, 1)
    (run / "owner").write_text("another\n")
    assert ranked.wait(60) == [1]
    assert "belongs to attempt another" in ranked.log.read_text()
    assert not (run / "DONE").exists()


def test_a_full_disk_lets_training_go_on_and_says_so(small_disk: Path, tmp_path: Path):
    run = small_disk / "run"
    longer = CONFIG | {"steps": 40}
    ranked = Ranked("train", 1, tmp_path, run=str(run), config=longer, step_s=0.05, log_to=str(tmp_path))
    wait_for_step(ranked, tmp_path, 5)
    filler = small_disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4096"], stderr=subprocess.DEVNULL, check=False)
    wait_for_step(ranked, tmp_path, 20)
    filler.unlink()
    [result] = ranked.outcome()
    assert result["code"] == 0
    assert result["step"] == 40
    log = ranked.log.read_text()
    assert "a snapshot could not be written" in log
    assert (run / "snapshots" / "step-00000040").is_dir()


def test_the_best_score_keeps_its_snapshot(tmp_path: Path):
    config = CONFIG | {"keep_last": 1, "snapshot_every": 100}
    scores = {3: 0.2, 6: 0.9, 9: 0.5, 12: 0.1}
    train(str(tmp_path / "run"), config, scores={str(k): v for k, v in scores.items()})
    held = sorted(path.name for path in (tmp_path / "run" / "snapshots").glob("step-*"))
    assert held == ["step-00000006", "step-00000012"]
    assert json.loads((tmp_path / "run" / "snapshots" / "best.json").read_text()) == {"step": 6, "score": 0.9}


@pytest.mark.parametrize("best", [0, 6, 12])
def test_a_run_goes_back_to_its_best_step_and_what_it_began_with_is_one(tmp_path: Path, best: int):
    scores = {"0": 0.3, "6": 0.2, "12": 0.1, str(best): 0.9}
    result = train(str(tmp_path / "run"), CONFIG | {"keep_last": 1, "snapshot_every": 100}, scores=scores)
    assert (result["kept"], result["step"]) == (best, 12)
    snapshot = load_file(tmp_path / "run" / "snapshots" / f"step-{best:08d}" / "rank-0.safetensors")
    assert all(torch.equal(value, snapshot[f"model.{name}"]) for name, value in result["weights"].items())
    again = train(str(tmp_path / "run"), CONFIG | {"keep_last": 1, "snapshot_every": 100}, scores=scores)
    assert again["kept"] == best  # an attempt that finds everything trained goes back to it as well


@pytest.mark.parametrize("best", [0, 6])
def test_a_kill_between_the_save_of_the_best_step_and_its_mark_loses_nothing(tmp_path: Path, best: int, monkeypatch):
    """The look is over, so nothing is due: what it said lies with the snapshot."""
    scores = {"0": 0.3, "6": 0.2, "12": 0.1, str(best): 0.9}
    config, real = CONFIG | {"keep_last": 1, "snapshot_every": 100}, Snapshots.mark_best

    def dies(self: Snapshots, step: int, score: float) -> None:
        if step == best:
            raise SystemExit(9)
        real(self, step, score)

    with monkeypatch.context() as patched:
        patched.setattr(Snapshots, "mark_best", dies)
        with pytest.raises(SystemExit):
            train(str(tmp_path / "run"), config, scores=scores)
    assert train(str(tmp_path / "run"), config, scores=scores)["kept"] == best


def test_a_score_that_is_no_number_is_no_best(tmp_path: Path):
    scores = {"0": float("nan"), "6": 0.2, "9": float("nan"), "12": 0.1}
    assert train(str(tmp_path / "run"), CONFIG | {"snapshot_every": 100}, scores=scores)["kept"] == 6


def test_without_scores_the_last_step_is_kept(tmp_path: Path):
    assert train(str(tmp_path / "run"), CONFIG)["kept"] == 12


def test_a_profile_of_a_few_steps_is_written(tmp_path: Path):
    train(str(tmp_path / "run"), CONFIG | {"steps": 22}, profile=True)
    trace = json.loads((tmp_path / "run" / "profile" / "trace.json").read_text())
    assert len(trace["traceEvents"]) > 100
    assert "aten::" in (tmp_path / "run" / "profile" / "operators.txt").read_text()


@pytest.mark.drill
@pytest.mark.parametrize("slow_save_s", [0.0, 0.3], ids=["anywhere", "often in a save"])
def test_fifty_kills_at_random_moments_leave_the_run_bit_equal(slow_save_s: float, tmp_path: Path):
    config = CONFIG | {"steps": 400, "snapshot_every": 3}
    reference = tmp_path / "straight"
    assert train(str(reference / "run"), config)["code"] == 0
    rng = random.Random(5)
    kills = 0
    while True:
        ranked = Ranked(
            "train", 1, tmp_path, run=str(tmp_path / "run"), config=config, slow_save_s=slow_save_s, step_s=0.01
        )
        before = max(steps_of(tmp_path), default=0) if (tmp_path / "steps-0.jsonl").exists() else 0
        if kills < 50:
            wait_for_step(ranked, tmp_path, min(before + 1, 400))
            time.sleep(rng.uniform(0, 0.4))
            ranked.kill()
            kills += ranked.processes[0].exitcode == -9
        if ranked.wait(300) == [0]:
            break
    assert steps_of(tmp_path) == steps_of(reference)
    assert kills == 50
