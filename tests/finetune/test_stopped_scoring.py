"""Stages that only score (probe, baselines, evaluate, fusion), stopped by a signal: they end soon and go on."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.train import finetune
from bandloom.run_state.markers import read_marker
from bandloom.run_state.run_folder import RunFolder
from bandloom.shards.read.shard_set import ShardSet
from benchmarks.planted_context import write_context
from tests.bandloom.tiny_training import Ranked
from tests.finetune.fusion.test_run import NOTES
from tests.finetune.small_run import CONFIG, WITHIN_S

Moment = Callable[[Path], bool]


def beats(run: Path) -> bool:
    return any((run / "attempts").glob("*/heartbeat"))


def holds(pattern: str) -> Moment:
    return lambda run: any(run.glob(pattern))


@pytest.fixture
def config_of(scene_shards, chip_shards, encoder_folder, tmp_path) -> Callable[[str], dict[str, Any]]:
    whole = CONFIG | {"shards": str(scene_shards), "checkpoint": str(encoder_folder)}

    def config(stage: str) -> dict[str, Any]:
        if stage == "fusion":
            image = {"checkpoint": str(encoder_folder)}
            few = {"fusion": ["film"], "seeds": 1, "steps": 20, "baselines": ["majority"], "bootstrap": 50}
            split = {"block_m": 1200, "buffer_m": 0}
            keys = [entry.key for entry in ShardSet(chip_shards).entries]
            write_context(tmp_path / "notes.csv", {key: NOTES[place % 12] for place, key in enumerate(keys)})
            vectors = np.random.default_rng(0).normal(size=(len(NOTES), 16))
            np.savez(tmp_path / "notes.npz", texts=np.array(NOTES), vectors=vectors)
            context = {"source": "csv", "path": str(tmp_path / "notes.csv")}
            text = {"model": str(tmp_path / "notes.npz")}
            some = {"shards": str(chip_shards), "image": image, "split": split}
            return {**some, "context": context, "text": text, **few}
        if stage == "evaluate":
            finetune(FinetuneConfig(**whole), RunFolder(tmp_path / "trained"))
            return {"checkpoint": str(tmp_path / "trained"), "shards": str(scene_shards), "bootstrap": 50}
        return whole

    return config


def scores(run: Path) -> dict[str, Any]:
    """Return the record without times."""
    record = json.loads((run / "metrics.json").read_text())
    for row in record["rows"]:
        row.pop("seconds", None)
    return record


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("stage", "moment", "number"),
    [
        ("baselines", holds("pieces/baseline-*"), signal.SIGTERM),
        ("baselines", holds("pieces/network-*"), signal.SIGUSR1),
        ("probe", beats, signal.SIGTERM),
        ("probe", holds("pieces/probe-*"), signal.SIGUSR1),
        ("evaluate", beats, signal.SIGTERM),
        ("fusion", holds("fits/*.npz"), signal.SIGTERM),
    ],
)
def test_a_stop_ends_soon_and_the_same_call_goes_on_to_the_same_scores(stage, moment, number, config_of, tmp_path):
    config = config_of(stage)

    def start(run: Path) -> Ranked:
        process = f"tests.finetune.finetune_process:{stage}"
        return Ranked(process, 1, run.parent / "process", run=str(run), config=config)

    whole, run = tmp_path / "whole" / "run", tmp_path / "stopped" / "run"
    (result,) = start(whole).outcome(900)
    assert result == {"code": 0}
    ranked = start(run)
    ranked.wait_until(lambda: moment(run), 900)
    (process,) = ranked.processes
    assert process.pid
    began = time.monotonic()
    os.kill(process.pid, number)
    (result,) = ranked.outcome(WITHIN_S + 60)
    assert time.monotonic() - began < WITHIN_S
    assert result == {"code": 75}
    attempt = run / "attempts" / (run / "owner").read_text().strip()
    end = read_marker(attempt / "end")
    assert end
    assert (end["reason"], end["code"]) == ("stopped", 75)
    assert read_marker(attempt / "heartbeat")
    assert not (run / "DONE").exists()
    assert not (run / "metrics.json").exists()
    (result,) = start(run).outcome(900)
    assert result == {"code": 0}
    assert (run / "DONE").exists()
    assert not (run / "pieces").exists()
    assert scores(run) == scores(whole)
