"""What an aligned encoder knows of words on synthetic scenes: the numbers of docs/text.md over three seeds.

``BANDLOOM_ENCODER=RUN`` names a pretrained encoder; without it the encoder's weights are random. ``WORDS_OUT=FOLDER``
keeps scenes, shards and runs.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.run_folder import RunFolder
from benchmarks.harness import Figure
from finetune.text.align import align
from finetune.text.config import AlignConfig
from shards.build import build
from shards.plan import BuildOptions
from shards.synth.write import write_scenes

SCENES, SIDE_PX, CHIP_PX, STEPS, SEEDS = 12, 480, 24, 300, (0, 1, 2)
HELD_OUT = ["orchard", "lake", "snow"]
UNSEEN = "seen classes, unseen words"


def run() -> list[Figure]:
    """Align with label captions and with mask captions, each over the seeds, and set every score beside chance."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("WORDS_OUT", temporary))
        shards = _shards(folder)
        return [each for source in ("labels", "masks") for each in _figures(folder, shards, source)]


def _shards(folder: Path) -> Path:
    out = folder / "shards"
    if not out.exists():
        write_scenes(folder / "data", SCENES, SIDE_PX, 40, cloud_fraction=0.0)
        options = BuildOptions(side_px=CHIP_PX, labels=str(folder / "data" / "labels"),
                               label_set=str(folder / "data" / "label_set.yaml"))  # fmt: skip
        build([str(folder / "data" / "scenes")], out, options)
    return out


def _figures(folder: Path, shards: Path, source: str) -> list[Figure]:
    reports = [_report(folder, shards, source, seed) for seed in SEEDS]
    encoder = "a pretrained encoder" if os.environ.get("BANDLOOM_ENCODER") else "random weights"
    figures = []
    for name in reports[0]["three_numbers"]:
        rows = [report["three_numbers"][name] for report in reports]
        note = f"{encoder}, frozen, MiniLM, {SCENES} synthetic scenes, {_spread(rows, 'mean_recall')}"
        figures.append(Figure(f"words {source} captions: {name}, mean recall", _mean(rows, "mean_recall"), "share",
                              "chance", _mean(rows, "chance"), ">= 5" if name == UNSEEN else "", note))  # fmt: skip
    for name in reports[0]["retrieval"]:
        rows = [report["retrieval"][name] for report in reports]
        figures += [Figure(f"words {source} captions: {name}, {key}", _mean(rows, key), "share", "chance",
                           _mean(rows, f"{key}_chance"), "", _spread(rows, key))
                    for key in ("recall_at_1", "recall_at_5", "recall_at_10", "map_at_100")]  # fmt: skip
    return figures


def _report(folder: Path, shards: Path, source: str, seed: int) -> dict[str, Any]:
    run = folder / f"{source}-{seed}"
    if not (run / "DONE").exists():
        encoder = os.environ.get("BANDLOOM_ENCODER")
        config = AlignConfig.model_validate({
            "shards": shards, "checkpoint": encoder, "size": "tiny", "holdout_classes": HELD_OUT,
            "captions": {"sources": [source]}, "split": {"seed": seed, "block_m": 1200},
            "trainer": {"steps": STEPS, "batch_size": 64, "seed": seed, "snapshot_every": STEPS,
                        "engine": {"lr": 1e-3, "warmup_steps": 20, "weight_decay": 0.01}},
        })  # fmt: skip
        align(config, RunFolder(run))
    return json.loads((run / "metrics.json").read_text())


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([row[key] for row in rows if key in row])) if any(key in row for row in rows) else float("nan")


def _spread(rows: list[dict[str, Any]], key: str) -> str:
    values = ", ".join(f"{row[key]:.3f}" for row in rows if key in row)
    return f"seeds: {values}"
