"""What a run leaves to read: metrics.json, pictures, predictions, the model card, and tables on the console."""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from bandloom.console import table
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.split_distance import train_test_distance
from bandloom.finetune.model.checkpoint import short_card
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.report.pictures import draw_confusion, draw_curves, draw_reliability, draw_worst
from bandloom.finetune.report.prediction_table import write_table
from bandloom.finetune.scores.confusion import SCHEMA, Row, intervals, margins, scores, top_confusions
from bandloom.finetune.scores.evaluation import Evaluation
from bandloom.finetune.scores.over_seeds import seed_lines
from bandloom.label_set import LabelSet
from bandloom.output import new_output, write_json

MODEL_ROW, RANDOM_ROW = "fine-tuned", "same network, random weights"


def row_record(row: Row, label_set: LabelSet, bootstrap: int) -> dict[str, Any]:
    """Return one scored row as plain JSON types, with its 95 % intervals."""
    return {
        "name": row.name,
        **scores(row.confusion, label_set.names),
        "interval_95": intervals(list(row.confusions.values()), bootstrap) if bootstrap else {},
        "blocks": len(row.confusions),
        "fitted_on": row.fitted_on,
        "scored_on": row.scored_on,
        "seconds": round(row.seconds, 2),
    }


def metrics_record(rows: Sequence[Row], data: TaskData, bootstrap: int, **more: Any) -> dict[str, Any]:
    """Return what ``metrics.json`` holds.

    Args:
        rows: the model's row first, then its rivals.
        data: labelled samples under the split that all rows share.
        bootstrap: draws behind the intervals.
        more: further keys, such as calibration, validation scores and parameter counts.
    """
    names = data.label_set.names
    split = data.describe()
    records = [row_record(row, data.label_set, bootstrap) for row in rows]
    for row, record in zip(rows[1:], records[1:], strict=True):
        record["margin_95"] = margins(rows[0].confusions, row.confusions, bootstrap) if bootstrap else {}
    return {
        "schema": SCHEMA,
        "task": data.task,
        "label_set": data.label_set.to_dict(),
        "sensor": data.sensor.name,
        "split": split | {"hash": split_hash(split), "distance": train_test_distance(data)},
        "rows": records,
        "confusion": rows[0].confusion.tolist(),
        "top_confusions": top_confusions(rows[0].confusion, names),
        **more,
    }


def split_hash(description: dict[str, Any]) -> str:
    """Return a short digest of a split: equal digests mean that scores were taken on the same ground."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """Write ``metrics.json``, ``confusion.csv`` and the pictures that follow from the record into a run folder."""
    write_json(folder / "metrics.json", record)
    names = [each["name"] for each in record["label_set"]["classes"]]
    confusion = np.array(record["confusion"])
    write_confusion_csv(folder / "confusion.csv", confusion, names)
    draw_confusion(folder / "pictures" / "confusion.png", confusion, names)
    if "calibration" in record:
        draw_reliability(folder / "pictures" / "reliability.png", record["calibration"])


def write_blocks(folder: Path, rows: Sequence[Row], split: str) -> None:
    """Write every row's confusion matrix block by block, so that runs on one split can be compared in pairs later.

    Args:
        folder: the run folder.
        rows: as in the record.
        split: its hash; only blocks of equal splits are the same ground.
    """
    matrices = {
        row.name: {f"{block:016x}": matrix.tolist() for block, matrix in row.confusions.items()} for row in rows
    }
    write_json(folder / "blocks.json", {"schema": SCHEMA, "split": split, "rows": matrices})


def read_blocks(folder: Path) -> dict[str, dict[int, np.ndarray]]:
    """Return what :func:`write_blocks` wrote: ``(K, K)`` by block by row."""
    rows = json.loads((folder / "blocks.json").read_text())["rows"]
    return {
        name: {int(block, 16): np.array(matrix) for block, matrix in blocks.items()} for name, blocks in rows.items()
    }


def write_evidence(folder: Path, tested: Evaluation, data: TaskData, log: Sequence[dict[str, Any]] = ()) -> None:
    """Write what the record leaves out: the worst examples, every prediction, and the learning curves.

    Args:
        folder: the run folder.
        tested: the look at the test labels.
        data: whose labels they are.
        log: the lines of the run's ``metrics.jsonl``.
    """
    draw_worst(folder / "pictures" / "worst.png", tested.worst, data.label_set, data.sensor)
    write_table(folder, "predictions", tested.table)
    training = [line for line in log if line["kind"] == "train"]
    if training:
        validation = [line for line in log if "validation_macro_f1" in line]
        draw_curves(folder / "pictures" / "curves.png", training, validation)


def write_confusion_csv(path: Path, confusion: np.ndarray, names: Sequence[str]) -> None:
    """Write counts with truth in rows and prediction in columns."""
    with new_output(path, overwrite=True) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["truth \\ predicted", *names])
        writer.writerows([name, *counts] for name, counts in zip(names, confusion.tolist(), strict=True))


def score_table(record: dict[str, Any]) -> Table:
    """Return the console's table: every row's scores, the model's first, with its interval of macro-F1."""
    header = ["", "accuracy", "macro-F1", "95 %", "mean IoU"]
    rows = []
    for row in record["rows"]:
        low_high = row["interval_95"].get("macro_f1")
        interval = f"{low_high[0]:.2f} to {low_high[1]:.2f}" if low_high else ""
        rows.append([row["name"], row["overall"], row["macro_f1"], interval, row["mean_iou"]])
    held = record["rows"][0]
    title = f"Test scores ({held['scored_on']:,} labels in {held['blocks']:,} blocks)"
    return table(title, header, rows)


def class_table(record: dict[str, Any]) -> Table:
    """Return the model's scores class by class."""
    header = ["class", "precision", "recall", "F1", "IoU", "labels"]
    rows = [
        [
            row["name"],
            *("" if row[key] is None else row[key] for key in ("precision", "recall", "f1", "iou")),
            row["support"],
        ]
        for row in record["rows"][0]["classes"]
    ]
    return table("Class by class", header, rows)


def confusion_lines(record: dict[str, Any], most: int = 5) -> list[str]:
    """Return the commonest mistakes as text: "AnnualCrop taken for PermanentCrop: 15 (3 %)"."""
    return [
        f"{each['truth']} taken for {each['taken_for']}: {each['count']:,} ({100 * each['share']:.0f} %)"
        for each in record["top_confusions"][:most]
    ]


def split_line(split: dict[str, Any]) -> str:
    """Return one sentence on the split: kind, blocks, hash, and how near the test lies to the training ground."""
    blocks = f", blocks of {split['block_m']} m, buffer {split['buffer_m']} m" if "block_m" in split else ""
    distance = split.get("distance")
    near = (
        (
            f"; the nearest test label lies {distance['least_m']:,.0f} m from a training label (median over test blocks"
            f" {distance['median_m']:,.0f} m)"
        )
        if distance
        else ""
    )
    return f"Split: {split['kind']}{blocks}, hash `{split['hash']}`{near}."


def model_card(model: TaskModel, record: dict[str, Any], provenance: dict[str, Any]) -> str:
    """Return the model card: what it is, what it was tested on, how it did beside its floors, what it is not for."""
    lines = [
        short_card(model).rstrip(),
        "",
        "## Scores on held-out ground",
        "",
        f"{split_line(record['split'])} {record['rows'][0]['scored_on']:,} test labels.",
        "",
        "| | accuracy | balanced | macro-F1 (95 %) | mean IoU | kappa |",
        "|---|---|---|---|---|---|",
        *(_card_row(row) for row in record["rows"]),
        "",
        "Rows below the first are the floors and rivals, on the same split.",
        "",
        *_listed(seed_lines(record)),
        "| class | precision | recall | F1 | IoU | test labels |",
        "|---|---|---|---|---|---|",
        *(_class_row(row) for row in record["rows"][0]["classes"]),
        "",
        *_mistakes(record),
        *_calibration(record),
        "## Limits",
        "",
        "The scores hold for ground like the training ground, this sensor and this processing level; a class without"
        " test labels has no score.",
        "",
        "## Provenance",
        "",
        *(f"- {key}: {value}" for key, value in provenance.items() if not isinstance(value, dict)),
    ]
    return "\n".join(lines) + "\n"


def _mistakes(record: dict[str, Any]) -> list[str]:
    lines = confusion_lines(record)
    return ["Commonest mistakes:", "", *_listed(lines)] if lines else []


def _listed(lines: Sequence[str]) -> list[str]:
    return [*(f"- {line}" for line in lines), ""] if lines else []


def _calibration(record: dict[str, Any]) -> list[str]:
    if "calibration" not in record:
        return []
    found = record["calibration"]
    return [
        f"Expected calibration error {found['before']['error']:.3f}, with logits divided by the temperature"
        f" {found['temperature']:.2f} (fitted on validation, in `config.json`) {found['after']['error']:.3f}.",
        "",
    ]


def _card_row(row: dict[str, Any]) -> str:
    bounds = row["interval_95"].get("macro_f1")
    interval = f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else ""
    return (
        f"| {row['name']} | {row['overall']:.3f} | {row['balanced']:.3f} | {row['macro_f1']:.3f}{interval} |"
        f" {row['mean_iou']:.3f} | {row['kappa']:.3f} |"
    )


def _class_row(row: dict[str, Any]) -> str:
    values = ("-" if row[key] is None else f"{row[key]:.3f}" for key in ("precision", "recall", "f1", "iou"))
    return f"| {row['name']} | {' | '.join(values)} | {row['support']:,} |"
