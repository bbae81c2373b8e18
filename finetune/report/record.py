"""The record of a run and its files: from scored rows to metrics.json, blocks, pictures and predictions."""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.block_scores import BLOCKS
from bandloom.files.output import new_output, write_json
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.split_distance import train_test_distance
from bandloom.finetune.report.pictures import LOOKED, draw_confusion, draw_curves, draw_reliability, draw_worst
from bandloom.finetune.report.prediction_table import write_table
from bandloom.finetune.report.scatter import draw_scatter
from bandloom.finetune.report.tested import write_tested
from bandloom.finetune.scores.evaluation import Evaluation
from bandloom.finetune.scores.multilabel import MultilabelRow
from bandloom.finetune.scores.row import Row
from bandloom.finetune.scores.scorer import Look, Scorer
from bandloom.finetune.scores.value_scorer import ValueLook
from bandloom.scores import ScoreRecord, ScoreRow, write_scores
from bandloom.several_scores import write_decisions

BLOCKS_SCHEMA = 1


def score_row(row: Row, names: Sequence[str], bootstrap: int = 0, ahead_of: Row | None = None) -> ScoreRow:
    """Return one scored row with its 95 % intervals.

    Args:
        row: what was scored.
        names: class names by index.
        bootstrap: draws of blocks behind the intervals; 0: none.
        ahead_of: the first row, whose margin over this one is given.
    """
    scores = row.scores(names)
    classes = scores.pop("classes", [])
    scores.pop("support", None)
    values: dict[str, Any] = {
        "name": row.name,
        "kind": row.kind,
        "seeds": row.seeds,
        "scores": scores,
        "interval_95": row.intervals(bootstrap),
        "margin_95": {} if ahead_of is None else ahead_of.margins(row, bootstrap),
        "classes": [
            {"name": land_class.pop("name"), "support": land_class.pop("support"), "scores": land_class}
            for land_class in map(dict, classes)
        ],
        "blocks": row.blocks,
        "fitted_on": row.fitted_on,
        "scored_on": row.scored_on,
        "seconds": round(row.seconds, 2),
    }
    return ScoreRow.model_validate(values)


def metrics_record(rows: Sequence[Row], data: TaskData, scorer: Scorer, bootstrap: int, **more: Any) -> ScoreRecord:
    """Return what ``metrics.json`` holds.

    Args:
        rows: the model's row first, then its baselines.
        data: labelled samples under the split that all rows share.
        scorer: of the task.
        bootstrap: draws behind the intervals.
        more: further fields of the record, such as calibration, validation scores and parameter counts.
    """
    names, split = data.label_set.names, data.describe()
    first, *others = rows
    values = {
        "task": data.task,
        "label_set": data.label_set.to_dict(),
        "sensor": data.sensor.name,
        "split": split | {"hash": split_hash(split), "distance": train_test_distance(data)},
        "rows": [
            score_row(first, names, bootstrap),
            *(score_row(row, names, bootstrap, ahead_of=first) for row in others),
        ],
        **scorer.extras(first, data),
        **more,
    }
    return ScoreRecord.model_validate(values)


def split_hash(description: dict[str, Any]) -> str:
    """Return a short digest of a split: equal digests mean that scores were taken on the same ground."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def write_report(folder: Path, record: ScoreRecord) -> None:
    """Write ``metrics.json``, and a confusion matrix and pictures where the record has them, into a run folder."""
    write_scores(folder, record)
    names = [land_class["name"] for land_class in record.label_set["classes"]]
    if record.confusion is not None:
        confusion = np.array(record.confusion)
        write_confusion_csv(folder / "confusion.csv", confusion, names)
        draw_confusion(folder / "pictures" / "confusion.png", confusion, names)
    if record.calibration is not None:
        draw_reliability(folder / "pictures" / "reliability.png", record.calibration)


def write_blocks(folder: Path, rows: Sequence[Row], split: str) -> None:
    """Write what every row counts block by block, so that runs on one split can be compared in pairs later.

    Of several classes a chip, whose average precision is no sum over blocks, the chips themselves are kept.

    Args:
        folder: the run folder.
        rows: as in the record.
        split: its hash; only blocks of equal splits are the same ground.
    """
    counted = {row.name: {f"{block:016x}": value for block, value in row.by_block().items()} for row in rows}
    if any(counted.values()):
        write_json(folder / BLOCKS, {"schema": BLOCKS_SCHEMA, "split": split, "rows": counted})
    if several := {row.name: row.several for row in rows if isinstance(row, MultilabelRow)}:
        write_decisions(folder, several, split)


def write_evidence(folder: Path, tested: Look, data: TaskData, log: Sequence[dict[str, Any]] = ()) -> None:
    """Write what the record leaves out: pictures of the test, every prediction, some samples, and the learning curves.

    Args:
        folder: the run folder.
        tested: the look at the test labels.
        data: whose labels they are.
        log: the lines of the run's ``metrics.jsonl``.
    """
    draw_tested(folder / "pictures", tested, data)
    write_table(folder, "predictions", tested.table)
    write_tested(folder, getattr(tested, "kept", ()), data.sensor)
    training = [line for line in log if line["kind"] == "train"]
    if training:
        validation = [line for line in log if any(key.startswith(LOOKED) for key in line)]
        draw_curves(folder / "pictures" / "curves.png", training, validation)


def draw_tested(folder: Path, tested: Look, data: TaskData) -> None:
    """Draw the test samples that a model is worst at, or its values over the true ones; several classes: nothing."""
    if isinstance(tested, Evaluation):
        draw_worst(folder / "worst.png", tested.worst, data.label_set, data.sensor)
    elif isinstance(tested, ValueLook) and data.target is not None:
        draw_scatter(folder / "scatter.png", tested.truth, tested.predicted, data.target)


def write_confusion_csv(path: Path, confusion: np.ndarray, names: Sequence[str]) -> None:
    """Write counts with truth in rows and prediction in columns."""
    with new_output(path, overwrite=True) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["truth \\ predicted", *names])
        writer.writerows([name, *counts] for name, counts in zip(names, confusion.tolist(), strict=True))
