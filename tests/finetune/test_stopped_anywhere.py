"""A whole fine-tuning stopped or killed at any moment: it ends soon, goes on, and scores what it would have."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bandloom.run_state.markers import read_marker
from tests.bandloom.tiny_training import Ranked
from tests.finetune.small_run import CONFIG, WITHIN_S, scores

MOST_A_RUN = 6  # disturbances, or the moments would gather in the longest fit, which begins again each time


def start(run: Path, config: dict[str, Any]) -> Ranked:
    return Ranked("tests.finetune.finetune_process:finetune", 1, run.parent / "process", run=str(run), config=config)


def outcome(run: Path) -> tuple[Any, Any]:
    """Return the scores and the blocks' matrices, and the lines of the metrics, without times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [(line["step"], line["kind"], line.get("loss"), line.get("validation_macro_f1")) for line in lines]
    return scores(run), kept


SIGNALS = {"TERM": signal.SIGTERM, "USR1": signal.SIGUSR1, "KILL": signal.SIGKILL}


def stop(how: str, run: Path, ranked: Ranked) -> None:
    (process,) = ranked.processes
    assert process.pid
    if how == "STOP":
        (run / "attempts" / (run / "owner").read_text().strip() / "STOP").touch()
    else:
        os.kill(process.pid, SIGNALS[how])


def listens(run: Path, ranked: Ranked) -> bool:
    """Tell whether this process owns the run and has beaten; before that a signal ends it as it ends any program."""
    try:
        owner = (run / "owner").read_text().strip()
    except OSError:
        return False
    return owner.endswith(f"-{ranked.processes[0].pid}") and (run / "attempts" / owner / "heartbeat").exists()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, scene_shards, encoder_folder) -> tuple[dict[str, Any], Any, float]:
    config = CONFIG | {"shards": str(scene_shards), "checkpoint": str(encoder_folder)}
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    began = time.monotonic()
    (result,) = start(run, config).outcome(900)
    assert result == {"code": 0}
    assert not (run / "pieces").exists()
    return config, outcome(run), time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", ["TERM", "USR1", "STOP"])
def test_a_stop_while_baselines_are_fitted_ends_soon_and_what_was_scored_is_kept(how: str, undisturbed, tmp_path: Path):
    config, expected, _ = undisturbed
    run = tmp_path / "run"
    ranked = start(run, config)
    ranked.wait_until(lambda: len(list((run / "pieces").glob("baseline-*"))) >= 2, 900)
    began = time.monotonic()
    stop(how, run, ranked)
    (result,) = ranked.outcome(WITHIN_S + 60)
    assert time.monotonic() - began < WITHIN_S
    assert result == {"code": 75}
    end = read_marker(run / "attempts" / (run / "owner").read_text().strip() / "end")
    assert end
    assert (end["reason"], end["code"], end["step"]) == ("stopped", 75, 6)
    before = {file: file.stat().st_mtime_ns for file in (run / "pieces").iterdir()}
    ranked = start(run, config)
    ranked.wait_until(lambda: len(list((run / "pieces").iterdir())) > len(before) or (run / "DONE").exists(), 900)
    for file, written in before.items():
        assert not file.exists() or file.stat().st_mtime_ns == written  # taken as it was
    (result,) = ranked.outcome(900)
    assert result == {"code": 0}
    assert outcome(run) == expected


@pytest.mark.drill
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_thirty_moments_each_of_kill_term_and_usr1_change_no_number(undisturbed, tmp_path: Path):
    config, expected, whole_s = undisturbed
    rng = random.Random(int(os.environ.get("BANDLOOM_DRILL_SEED", "5")))
    ahead = ["KILL", "TERM", "USR1"] * int(os.environ.get("BANDLOOM_DRILL", "30"))
    rng.shuffle(ahead)
    slowest, count, runs, told = 0.0, 0, 0, []
    while ahead:
        run = tmp_path / f"run-{runs}" / "run"
        runs += 1
        for _ in range(min(MOST_A_RUN, len(ahead))):
            ranked = start(run, config)
            (process,) = ranked.processes
            due = time.monotonic() + rng.uniform(0.0, 0.6 * whole_s)
            while time.monotonic() < due and process.is_alive():
                time.sleep(0.02)
            if not process.is_alive():
                break
            how, heard = ahead.pop(), listens(run, ranked)
            beats = sorted((run / "attempts").glob("*/heartbeat"), key=os.path.getmtime)
            stage = (read_marker(beats[-1]) or {}).get("stage") if heard else "start-up"
            began = time.monotonic()
            stop(how, run, ranked)
            process.join(WITHIN_S + 60)
            took_s = time.monotonic() - began
            count += 1
            told.append(f"{how} in {stage}: {took_s:.1f} s, {process.exitcode}")
            sys.stdout.write(told[-1] + "\n")
            if how != "KILL" and process.exitcode == -SIGNALS[how]:
                assert not heard
            elif how != "KILL":
                slowest = max(slowest, took_s)
                assert process.exitcode == 0
                code = torch.load(ranked.results[0])["code"]
                assert code == 75 or (run / "DONE").exists()
        else:
            ranked = start(run, config)
        (result,) = ranked.outcome(900)
        assert result == {"code": 0}
        assert outcome(run) == expected
    said = f"{count} disturbances over {runs} runs of {whole_s:.0f} s; the slowest stop took {slowest:.1f} s"
    (tmp_path / "drill.json").write_text(json.dumps({"said": said, "each": told}, indent=1))
    assert slowest < WITHIN_S
