"""What a run leaves to read: metrics.json, the confusion matrix, the model card, and a table on the console."""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from bandloom.console import table
from bandloom.label_set import LabelSet
from bandloom.output import new_output, write_json
from finetune.baselines import Row
from finetune.checkpoint import short_card
from finetune.metrics import SCHEMA, intervals, scores, top_confusions
from finetune.model import TaskModel
from finetune.task_data import TaskData

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
        more: further keys, such as validation scores and parameter counts.
    """
    names = data.label_set.names
    split = data.describe()
    return {
        "schema": SCHEMA,
        "task": data.task,
        "label_set": data.label_set.to_dict(),
        "sensor": data.sensor.name,
        "split": split | {"hash": split_hash(split)},
        "rows": [row_record(row, data.label_set, bootstrap) for row in rows],
        "confusion": rows[0].confusion.tolist(),
        "top_confusions": top_confusions(rows[0].confusion, names),
        **more,
    }


def split_hash(description: dict[str, Any]) -> str:
    """Return a short digest of a split: equal digests mean that scores were taken on the same ground."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def write_report(folder: Path, record: dict[str, Any]) -> None:
    """Write ``metrics.json``, ``confusion.csv`` and ``pictures/confusion.png`` into a run folder."""
    write_json(folder / "metrics.json", record)
    names = [each["name"] for each in record["label_set"]["classes"]]
    confusion = np.array(record["confusion"])
    write_confusion_csv(folder / "confusion.csv", confusion, names)
    draw_confusion(folder / "pictures" / "confusion.png", confusion, names)


def write_confusion_csv(path: Path, confusion: np.ndarray, names: Sequence[str]) -> None:
    """Write counts with truth in rows and prediction in columns."""
    with new_output(path, overwrite=True) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["truth \\ predicted", *names])
        writer.writerows([name, *counts] for name, counts in zip(names, confusion.tolist(), strict=True))


def draw_confusion(path: Path, confusion: np.ndarray, names: Sequence[str]) -> None:
    """Draw the confusion matrix, each row as shares of its true class; classes that never occur are left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = np.flatnonzero(confusion.sum(0) + confusion.sum(1))
    part = confusion[np.ix_(shown, shown)]
    share = part / np.maximum(part.sum(1, keepdims=True), 1)
    side = 2.6 + 0.55 * len(shown)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    labels = [names[i] for i in shown.tolist()]
    axes.set_xticks(range(len(shown)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(shown)), [f"{name} ({count:,})" for name, count in zip(labels, part.sum(1), strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth (labels)")
    for (y, x), value in np.ndenumerate(share):
        if value >= 0.005:
            axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=8,
                      color="white" if value > 0.55 else "black")  # fmt: skip
    axes.set_title("% of each true class", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=130, format="png", bbox_inches="tight")


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
        [row["name"], *("" if row[key] is None else row[key] for key in ("precision", "recall", "f1", "iou")),
         row["support"]] for row in record["rows"][0]["classes"]
    ]  # fmt: skip
    return table("Class by class", header, rows)


def model_card(model: TaskModel, record: dict[str, Any], provenance: dict[str, Any]) -> str:
    """Return the model card: what it is, what it was tested on, how it did beside its floors, what it is not for."""
    split = record["split"]
    lines = [
        short_card(model).rstrip(),
        "",
        "## Scores on held-out ground",
        "",
        f"Split: {split['kind']}"
        + (f", blocks of {split['block_m']} m, buffer {split['buffer_m']} m" if "block_m" in split else "")
        + f", hash `{split['hash']}`; {record['rows'][0]['scored_on']:,} test labels.",
        "",
        "| | accuracy | macro-F1 (95 %) | mean IoU |",
        "|---|---|---|---|",
        *(_card_row(row) for row in record["rows"]),
        "",
        "Rows below the first are the floors and rivals, on the same split.",
        "",
        "| class | precision | recall | F1 | IoU | test labels |",
        "|---|---|---|---|---|---|",
        *(_class_row(row) for row in record["rows"][0]["classes"]),
        "",
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


def _card_row(row: dict[str, Any]) -> str:
    bounds = row["interval_95"].get("macro_f1")
    interval = f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else ""
    return f"| {row['name']} | {row['overall']:.3f} | {row['macro_f1']:.3f}{interval} | {row['mean_iou']:.3f} |"


def _class_row(row: dict[str, Any]) -> str:
    values = ("-" if row[key] is None else f"{row[key]:.3f}" for key in ("precision", "recall", "f1", "iou"))
    return f"| {row['name']} | {' | '.join(values)} | {row['support']:,} |"
