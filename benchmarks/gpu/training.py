"""Call ``training``: a real pretraining against the clock, stopped and resumed, with probes before and after."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu.feeding import shards_path
from benchmarks.gpu.journal import Row
from benchmarks.gpu.scale import Scale

FIRST_SHARE = 0.65  # of the time, before the run is asked to stop
NEVER = 10_000_000


def rows(scale: Scale) -> list[Row]:
    """Return the rows of this call."""
    return [
        Row("shards", 60, lambda: {"set": str(shards_path(scale))}),
        Row("pretraining", scale.train_s, lambda: pretraining(scale)),
    ]


def pretraining(scale: Scale) -> dict[str, Any]:
    """Train until most of the time is gone, stop, resume with an end in sight, and read what the run noted.

    The learning rate of the first part is that of a run without end; of the second it falls to the end that the first
    part's pace allows.
    """
    run, shards = scale.work / "run", shards_path(scale)
    config = scale.work / "run.yaml"
    config.write_text(yaml.safe_dump(_config(scale, shards), sort_keys=False))
    began = time.monotonic()
    first = _bandloom("pretrain", config, "--out", run, "--from-scratch", stop=run, after_s=FIRST_SHARE * scale.train_s)
    reached = _last_step(run)
    left_s = scale.train_s - (time.monotonic() - began)
    pace = reached / (time.monotonic() - began)
    end = reached + max(1, int(0.8 * pace * left_s))
    second = _bandloom("pretrain", "--resume", run, f"trainer.steps={end}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    scores = next((line for line in reversed(lines) if line["kind"] == "score"), {})
    if second["code"]:
        raise RuntimeError(f"the resumed run ended with {second['code']}: {second['said']}")
    return {
        "codes": [first["code"], second["code"]],
        "stopped_at": reached,
        "ended_at": _last_step(run),
        "loss": [[line["step"], line["loss"]] for line in trained[:: max(1, len(trained) // 30)]],
        "samples_per_s": _middle([line["samples_per_s"] for line in trained]),
        "data_wait": _middle([line["data_wait"] for line in trained]),
        "mfu": _middle([line["mfu"] for line in trained if "mfu" in line]),
        "probe_before": {k: v for k, v in scores.items() if k.startswith("floor_")},
        "probe_after": {k: v for k, v in scores.items() if k.startswith(("ridge", "knn"))},
        "said": [*first["said"], *second["said"]],
    }


def _config(scale: Scale, shards: Path) -> dict[str, Any]:
    return {
        "shards": str(shards),
        "size": scale.train_size,
        "crop_px": scale.side_px,
        "pictures_every": NEVER,
        "probe": {"shards": str(shards), "every": NEVER, "tokens": scale.probe_tokens},
        "trainer": {
            "steps": NEVER,
            "batch_size": scale.train_batch,
            "workers": scale.loader_workers,
            "log_every": 1 if scale.train_s < 60 else 20,
            "snapshot_every": NEVER,
            "engine": {
                "lr": 1.5e-4 * max(1, scale.train_batch / 256),
                "warmup_steps": 2 if scale.train_s < 60 else 200,
            },
        },
    }


def _bandloom(*words: object, stop: Path | None = None, after_s: float = 0.0) -> dict[str, Any]:
    """Run a verb as a user types it; after some time it is asked to stop, where ``stop`` names its run folder."""
    command = [sys.executable, "-m", "bandloom.cli", *map(str, words)]
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        while process.poll() is None:
            time.sleep(0.2)
            # a run that has not taken a step yet would end without a snapshot
            if stop is not None and time.monotonic() - began > after_s and _last_step(stop) > 0:
                for attempt in stop.glob("attempts/*"):
                    (attempt / "STOP").touch()
        said.seek(0)
        return {"code": process.returncode, "said": said.read().splitlines()[-4:]}


def _last_step(run: Path) -> int:
    """Return the last step that a run noted; 0 before there is one."""
    path = run / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return max((record["step"] for record in map(json.loads, lines) if record["kind"] == "train"), default=0)


def _middle(values: list[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None
