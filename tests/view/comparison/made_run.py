"""Run folders with the scores, block counts and lines that a test says, as a fine-tuning writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bandloom.block_scores import BLOCKS, headlines
from bandloom.files.output import write_json
from bandloom.scores import ScoreRecord, write_scores
from bandloom.several_scores import Several, headline, write_decisions
from bandloom.view.records import Record, read_record

CLASSES = ("water", "forest", "field")
COLOURS = ("#1f6fd4", "#2f7d32", "#d9b650")


def counts(seed: int, blocks: int = 12, right: float = 0.8, truth_seed: int = 0) -> dict[int, np.ndarray]:
    """Return confusion matrices by block: the truth depends on ``truth_seed`` alone, the answers on both."""
    made = {}
    for block in range(1, blocks + 1):
        truth = np.random.default_rng([truth_seed, block]).integers(0, len(CLASSES), 60)
        draw = np.random.default_rng([seed, block])
        answer = np.where(draw.random(60) < right, truth, draw.integers(0, len(CLASSES), 60))
        made[block] = np.bincount(truth * 3 + answer, minlength=9).reshape(3, 3)
    return made


def make_run(
    folder: Path,
    held: Mapping[int, np.ndarray],
    *,
    config: Mapping[str, Any] = {},
    split: str = "one",
    blocks: bool = True,
    lines: Sequence[str] = (),
    task: str = "segment",
    classes: Sequence[str] = CLASSES,
) -> Record:
    """Write a run folder and return its record."""
    folder.mkdir()
    total = np.sum(list(held.values()), axis=0)
    scores = {name: float(value) for name, value in headlines(total, classes=total.ndim > 1).items()}
    support = total.sum(axis=1) if total.ndim > 1 else []
    record = ScoreRecord.model_validate(
        {
            "task": task,
            "sensor": "sentinel2-l1c",
            "label_set": {
                "name": "three",
                "classes": [{"code": i + 1, "name": name, "colour": COLOURS[i % 3]} for i, name in enumerate(classes)],
            },
            "split": {"kind": "block", "block_m": 600, "hash": split},
            "rows": [
                {
                    "name": "fine-tuned",
                    "kind": "model",
                    "scores": scores,
                    "classes": [
                        {"name": name, "support": int(labels), "scores": {"f1": 0.5}}
                        for name, labels in zip(classes, support, strict=False)
                    ],
                    "blocks": len(held),
                    "fitted_on": 10,
                    "scored_on": int(total.sum()) if total.ndim > 1 else int(total[0]),
                }
            ],
        }
    )
    write_scores(folder, record)
    if blocks:
        rows = {"fine-tuned": {f"{block:016x}": counted.tolist() for block, counted in held.items()}}
        write_json(folder / BLOCKS, {"schema": 1, "split": split, "rows": rows})
    (folder / "config.yaml").write_text(yaml.safe_dump({"shards": "shards", **config}))
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return read_record(folder)


def make_several_run(folder: Path, held: Several, *, split: str = "one") -> Record:
    """Write a run folder of chips with several classes and return its record."""
    folder.mkdir()
    support = zip(CLASSES, held.truth.sum(axis=0).tolist(), strict=True)
    classes = [{"name": name, "support": count, "scores": {"f1": 0.5}} for name, count in support]
    row = {
        "name": "fine-tuned",
        "kind": "model",
        "scores": headline(held),
        "classes": classes,
        "blocks": len(np.unique(held.block_of)),
        "fitted_on": 10,
        "scored_on": len(held.truth),
    }
    told = [{"code": i + 1, "name": name, "colour": COLOURS[i]} for i, name in enumerate(CLASSES)]
    record = ScoreRecord.model_validate(
        {
            "task": "multilabel",
            "sensor": "sentinel2-l1c",
            "label_set": {"name": "three", "classes": told},
            "split": {"kind": "block", "block_m": 600, "hash": split},
            "rows": [row],
        }
    )
    write_scores(folder, record)
    write_decisions(folder, {"fine-tuned": held}, split)
    (folder / "config.yaml").write_text(yaml.safe_dump({"shards": "shards"}))
    (folder / "metrics.jsonl").write_text("")
    return read_record(folder)
