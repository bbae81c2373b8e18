"""What an aligned encoder knows of words on synthetic scenes: the numbers of docs/text.md over three seeds.

``BANDLOOM_ENCODER=RUN`` names a pretrained encoder; without it the encoder has the demo's size and random weights.
``WORDS_OUT=FOLDER`` keeps scenes, shards and runs, so that a second call only reads. ``WORDS_STEPS``, ``WORDS_SCENES``
and ``WORDS_SEEDS`` make a smaller trial. About ten minutes on one core, most of them the text model's.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.finetune.text.config import AlignConfig
from bandloom.finetune.text.train import align
from bandloom.run_state.run_folder import RunFolder
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.synth.write import write_scenes
from benchmarks.harness import Figure

SCENES = int(os.environ.get("WORDS_SCENES", "24"))
STEPS = int(os.environ.get("WORDS_STEPS", "1500"))
SEEDS = range(int(os.environ.get("WORDS_SEEDS", "3")))
SIDE_PX, CHIP_PX = 480, 24
HELD_OUT = ["orchard", "lake", "snow"]
UNSEEN = "seen classes, unseen words"
RETRIEVAL = ("recall_at_1", "recall_at_5", "recall_at_10", "map_at_100")


def run() -> list[Figure]:
    """Align with label captions and with mask captions, each over the seeds, and set every score beside chance."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("WORDS_OUT", temporary))
        shards = _shards(folder)
        reports = {source: [_report(folder, shards, source, seed) for seed in SEEDS] for source in ("labels", "masks")}
    figures = [figure for source, own in reports.items() for figure in _figures(source, own)]
    return [*figures, *_compared(reports)]


def _shards(folder: Path) -> Path:
    out = folder / "shards"
    if not out.exists():
        if not (folder / "data").exists():
            write_scenes(folder / "data", SCENES, SIDE_PX, 40, cloud_fraction=0.0)
        options = BuildOptions(
            side_px=CHIP_PX, labels=str(folder / "data" / "labels"), label_set=str(folder / "data" / "label_set.yaml")
        )
        build([str(folder / "data" / "scenes")], out, options)
    return out


def _report(folder: Path, shards: Path, source: str, seed: int) -> dict[str, Any]:
    run = folder / f"{source}-{seed}"
    if not (run / "DONE").exists():
        config = AlignConfig.model_validate(
            {
                "shards": shards,
                "checkpoint": os.environ.get("BANDLOOM_ENCODER"),
                "size": "demo",
                "holdout_classes": HELD_OUT,
                "captions": {"sources": [source]},
                "split": {"seed": seed, "block_m": 1200},
                "curve_points": 0,
                "augment": False,
                "trainer": {
                    "steps": STEPS,
                    "batch_size": 64,
                    "seed": seed,
                    "snapshot_every": STEPS,
                    "workers": 0,
                    "engine": {"lr": 3e-3, "warmup_steps": min(20, STEPS - 1), "weight_decay": 0.01},
                },
            }
        )
        align(config, RunFolder(run))
    return json.loads((run / "metrics.json").read_text())


def _figures(source: str, reports: list[dict[str, Any]]) -> list[Figure]:
    encoder = "a pretrained encoder" if os.environ.get("BANDLOOM_ENCODER") else "random weights"
    setting = f"{encoder}, frozen, MiniLM, {SCENES} synthetic scenes, {STEPS} steps"
    figures = []
    for name in reports[0]["three_numbers"]:
        rows = [report["three_numbers"][name] for report in reports]
        goal = ">= 5" if name == UNSEEN else ""
        figures += _figure(
            f"words {source} captions: {name}, mean recall", rows, "mean_recall", "chance", goal, setting
        )
    for name in reports[0]["retrieval"]:
        rows = [report["retrieval"].get(name, {}) for report in reports]
        for key in RETRIEVAL:
            figures += _figure(f"words {source} captions: {name}, {key}", rows, key, f"{key}_chance", "", setting)
    for place, point in enumerate(reports[0]["few_shot"]):
        rows = [report["few_shot"][place] for report in reports if len(report["few_shot"]) > place]
        figures += _figure(
            f"words {source} captions: head from words, {point['shots']} labels a class, mean recall",
            rows,
            "from words",
            "from random",
            "",
            setting,
        )
    return figures


def _compared(reports: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    """Set captions by fraction beside captions by label, on the same samples."""
    figures = []
    for name in (UNSEEN, "held-out classes among all"):
        of = {source: [report["three_numbers"].get(name, {}) for report in own] for source, own in reports.items()}
        if all(_mean(rows, "mean_recall") is not None for rows in of.values()):
            masks, labels = (float(_mean(of[source], "mean_recall") or 0) for source in ("masks", "labels"))
            figures.append(
                Figure(
                    f"words captions by fraction: {name}, mean recall",
                    masks,
                    "share",
                    "captions by label",
                    labels,
                    "",
                    _spread(of["masks"], "mean_recall"),
                )
            )
    return figures


def _figure(name: str, rows: list[dict[str, Any]], key: str, rival: str, goal: str, setting: str) -> list[Figure]:
    """Return one figure, or none where no seed has the score."""
    value, chance = _mean(rows, key), _mean(rows, rival)
    if value is None or chance is None:
        return []
    said = rival if rival.startswith("from") else "chance"
    return [Figure(name, value, "share", said, chance, goal, f"{setting}, {_spread(rows, key)}")]


def _mean(rows: list[dict[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows if key in row]
    return float(np.mean(values)) if values else None


def _spread(rows: list[dict[str, Any]], key: str) -> str:
    return "seeds: " + ", ".join(f"{row[key]:.3f}" for row in rows if key in row)
