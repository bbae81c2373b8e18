"""What training on chips with several classes is turned into: thresholds, scores beside floors, a report."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from bandloom.console import console, logger, table
from bandloom.finetune.baselines.features import chip_statistics
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, TRAIN, VAL
from bandloom.finetune.model.checkpoint import save_task_model, short_card
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.report.pictures import draw_curves, draw_reliability
from bandloom.finetune.report.prediction_table import write_table
from bandloom.finetune.report.record import MODEL_ROW, RANDOM_ROW, split_hash, split_line
from bandloom.finetune.scores.calibration import Reliability, fit_temperature
from bandloom.finetune.scores.confusion import SCHEMA
from bandloom.finetune.scores.multilabel import (
    HEADLINES,
    MultilabelRow,
    multilabel_intervals,
    multilabel_scores,
    tune_thresholds,
)
from bandloom.finetune.scores.over_seeds import add_seeds, seed_lines
from bandloom.finetune.scores.scoring import predict_role
from bandloom.finetune.setting import Setting
from bandloom.output import write_json
from bandloom.run_folder import RunFolder, commit

MOST_DRAWS = 200  # average precision is slow to draw again


def write_multilabel_results(
    setting: Setting,
    model: TaskModel,
    run: RunFolder,
    rival: TaskModel | None,
    parameters: dict[str, int],
    others: Sequence[dict[str, Any]] = (),
) -> None:
    """Tune on validation chips, score once on test chips beside the floors, and write the run's report."""
    config, data = setting.config, setting.data
    batch = config.trainer.batch_size
    truth, logits, _, _ = predictions(model, data, VAL, batch)
    model.temperature = fit_temperature(*binary(logits, truth))
    model.thresholds = tuple(tune_thresholds(truth, sigmoid(logits / model.temperature)).tolist())
    tested, keys = model_row(MODEL_ROW, model, data, batch)
    rows = [tested]
    rows += [tuned_row(RANDOM_ROW, rival, data, batch)] if rival is not None else []
    rows += floors(setting, config.baselines)
    record = multilabel_record(
        rows,
        data,
        config.bootstrap,
        calibration=calibration(model, data, batch),
        mode=config.mode,
        parameters=parameters,
        seed=config.trainer.seed,
        chip_px=setting.chip_px,
    )
    add_seeds(record, others, config.trainer.seed, HEADLINES)
    write_multilabel_report(run.path, record, tested, keys, data, run.metrics())
    provenance = {
        "shards": str(config.shards),
        "checkpoint": str(config.checkpoint),
        "mode": config.mode,
        "steps": config.trainer.steps,
        "seed": config.trainer.seed,
        "commit": commit(),
        "split_hash": record["split"]["hash"],
        "temperature": model.temperature,
        "config": config.model_dump(mode="json"),
    }
    save_task_model(run.checkpoint, model, provenance, card=multilabel_card(model, record), overwrite=True)
    run.log(config.trainer.steps, "score", **{key: record["rows"][0][key] for key in HEADLINES})
    console.print(multilabel_table(record), multilabel_class_table(record))
    for line in seed_lines(record):
        console.print(line)
    console.print(split_line(record["split"]))
    logger.info("scores, pictures and the model lie in %s", run.path)


def predictions(
    model: TaskModel, data: TaskData, role: int, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Return targets ``(N, K)``, logits ``(N, K)``, blocks ``(N,)`` and keys of a role's chips."""
    found = list(predict_role("chips", model, data, role, batch_size))
    truth, logits = (np.stack(list(column)) for column in zip(*((f.found.label, f.logits) for f in found), strict=True))
    return truth, logits, np.array([int(f.found.blocks) for f in found], np.uint64), [f.found.key for f in found]


def model_row(name: str, model: TaskModel, data: TaskData, batch_size: int) -> tuple[MultilabelRow, list[str]]:
    """Return a model's row on the test chips, at its own temperature and thresholds, and their keys."""
    start = time.monotonic()
    truth, logits, blocks, keys = predictions(model, data, TEST, batch_size)
    score = sigmoid(logits / model.temperature)
    thresholds = np.array(model.thresholds or [0.5] * truth.shape[1])
    fitted_on = len(data.indices_of(TRAIN))
    return MultilabelRow(name, truth, score, blocks, thresholds, fitted_on, time.monotonic() - start), keys


def tuned_row(name: str, model: TaskModel, data: TaskData, batch_size: int) -> MultilabelRow:
    """Tune a model's thresholds on validation chips, and return its row on the test chips."""
    truth, logits, _, _ = predictions(model, data, VAL, batch_size)
    model.thresholds = tuple(tune_thresholds(truth, sigmoid(logits)).tolist())
    return model_row(name, model, data, batch_size)[0]


def floors(setting: Setting, names: Sequence[str] | None = None) -> list[MultilabelRow]:
    """Score base rates and classifiers on image statistics, their thresholds tuned on validation chips too."""
    data, rows = setting.data, []
    parts = {role: _statistics(data, role) for role in (TRAIN, VAL, TEST)}
    for name in FLOORS if names is None else names:
        start = time.monotonic()
        scored = FLOORS[name](*parts[TRAIN][:2], setting.config.trainer.seed)
        thresholds = tune_thresholds(parts[VAL][1], scored(parts[VAL][0]))
        features, truth, blocks = parts[TEST]
        rows.append(
            MultilabelRow(
                name, truth, scored(features), blocks, thresholds, len(parts[TRAIN][1]), time.monotonic() - start
            )
        )
    return rows


def multilabel_record(rows: Sequence[MultilabelRow], data: TaskData, bootstrap: int, **more: Any) -> dict[str, Any]:
    """Return what ``metrics.json`` holds; the model's row first."""
    split, names = data.describe(), data.label_set.names
    draws = min(bootstrap, MOST_DRAWS)
    records = [
        {
            "name": row.name,
            **multilabel_scores(row, names),
            "interval_95": multilabel_intervals(row, draws),
            "blocks": len(np.unique(row.blocks)),
            "fitted_on": row.fitted_on,
            "scored_on": len(row.truth),
            "seconds": round(row.seconds, 2),
        }
        for row in rows
    ]
    return {
        "schema": SCHEMA,
        "task": data.task,
        "label_set": data.label_set.to_dict(),
        "sensor": data.sensor.name,
        "split": split | {"hash": split_hash(split)},
        "rows": records,
        **more,
    }


def calibration(model: TaskModel, data: TaskData, batch_size: int) -> dict[str, Any]:
    """Return how far the yes and the no of every class can be believed, before and after the temperature."""
    truth, logits, _, _ = predictions(model, data, TEST, batch_size)
    parts = {}
    for key, temperature in (("before", 1.0), ("after", model.temperature)):
        score = sigmoid(logits / temperature).ravel()
        parts[key] = Reliability.of(np.maximum(score, 1 - score), (score >= 0.5) == truth.ravel()).to_dict()
    return {"temperature": model.temperature, **parts}


def write_multilabel_report(
    folder: Path,
    record: dict[str, Any],
    row: MultilabelRow,
    keys: Sequence[str],
    data: TaskData,
    log: Sequence[dict[str, Any]] = (),
) -> None:
    """Write scores, calibration, every prediction and the learning curve into a run folder."""
    write_json(folder / "metrics.json", record)
    draw_reliability(folder / "pictures" / "reliability.png", record["calibration"])
    names = data.label_set.names
    write_table(
        folder,
        "predictions",
        [
            {
                "key": key,
                **{f"true {n}": bool(t) for n, t in zip(names, truth, strict=True)},
                **{f"p {n}": float(p) for n, p in zip(names, score, strict=True)},
            }
            for key, truth, score in zip(keys, row.truth, row.score, strict=True)
        ],
    )
    training = [line for line in log if line["kind"] == "train"]
    if training:
        draw_curves(folder / "pictures" / "curves.png", training, [])


def multilabel_table(record: dict[str, Any]) -> Table:
    """Return the console's table of all rows."""
    rows = []
    for row in record["rows"]:
        bounds = row["interval_95"].get("map_macro")
        rows.append(
            [
                row["name"],
                row["map_macro"],
                f"{bounds[0]:.2f} to {bounds[1]:.2f}" if bounds else "",
                row["map_micro"],
                row["f1_macro"],
                row["f1_micro"],
            ]
        )
    title = f"Test scores ({record['rows'][0]['scored_on']:,} chips in {record['rows'][0]['blocks']:,} blocks)"
    return table(title, ["", "mAP", "95 %", "micro-mAP", "macro-F1", "micro-F1"], rows)


def multilabel_class_table(record: dict[str, Any]) -> Table:
    """Return the model's scores class by class."""
    keys = ("average_precision", "precision", "recall", "f1")
    rows = []
    for each in record["rows"][0]["classes"]:
        values = ("" if each[key] is None else each[key] for key in keys)
        rows.append([each["name"], *values, each["threshold"], each["support"]])
    return table("Class by class", ["class", "AP", "precision", "recall", "F1", "threshold", "chips"], rows)


def multilabel_card(model: TaskModel, record: dict[str, Any]) -> str:
    """Return the model card with the scores beside the floors."""
    lines = [
        short_card(model).rstrip(),
        "",
        "## Scores on held-out ground",
        "",
        split_line(record["split"]),
        "",
        "| | mAP | micro-mAP | macro-F1 | micro-F1 |",
        "|---|---|---|---|---|",
        *(f"| {row['name']} | " + " | ".join(f"{row[key]:.3f}" for key in HEADLINES) + " |" for row in record["rows"]),
        "",
        "Rows below the first are the floors and rivals, on the same split. A class is there when its probability"
        " reaches its threshold in `config.json`, tuned on validation chips.",
    ]
    return "\n".join(lines) + "\n"


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def binary(logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every yes-or-no as a choice of two: logits ``(N K, 2)`` and labels ``(N K,)``."""
    flat = logits.ravel()
    return np.stack([np.zeros_like(flat), flat], 1), truth.ravel().astype(np.int64)


Scored = Callable[[np.ndarray], np.ndarray]


def _statistics(data: TaskData, role: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = list(data.samples(role))
    features = np.nan_to_num(np.stack([chip_statistics(each.groups, data.sensor) for each in found]))
    return features, np.stack([each.label for each in found]), np.array([int(f.blocks) for f in found], np.uint64)


def _base_rates(features: np.ndarray, truth: np.ndarray, seed: int) -> Scored:
    return lambda given: np.tile(truth.mean(0), (len(given), 1))


def _one_by_one(make: Callable[[int], Any]) -> Callable[[np.ndarray, np.ndarray, int], Scored]:
    """Fit a classifier a class; a class that is always or never there keeps its rate."""

    def fit(features: np.ndarray, truth: np.ndarray, seed: int) -> Scored:
        fitted = [make(seed).fit(features, column) if 0 < column.mean() < 1 else None for column in truth.T]
        rates = truth.mean(0)
        return lambda given: np.stack(
            [
                np.full(len(given), rates[k]) if each is None else each.predict_proba(given)[:, 1]
                for k, each in enumerate(fitted)
            ],
            1,
        )

    return fit


def _logistic(seed: int) -> Any:
    from bandloom.finetune.baselines.classifiers import logistic

    return logistic(seed)


def _forest(seed: int) -> Any:
    from bandloom.finetune.baselines.classifiers import forest

    return forest(seed)


FLOORS: dict[str, Callable[[np.ndarray, np.ndarray, int], Scored]] = {
    "base_rates": _base_rates,
    "stats_logistic": _one_by_one(_logistic),
    "stats_rf": _one_by_one(_forest),
}
