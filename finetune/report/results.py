"""What a finished training is turned into: a calibrated model, its scores beside its floors, and a report."""

from collections.abc import Sequence
from typing import Any

from bandloom.console import console, logger
from bandloom.finetune.baselines.classic import chosen, run_baselines
from bandloom.finetune.baselines.leakage import leakage_gap, leakage_line
from bandloom.finetune.data.splits import TEST, TRAIN, VAL
from bandloom.finetune.model.checkpoint import save_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.report.record import (
    MODEL_ROW,
    RANDOM_ROW,
    class_table,
    confusion_lines,
    metrics_record,
    model_card,
    row_record,
    score_table,
    split_line,
    write_blocks,
    write_evidence,
    write_report,
)
from bandloom.finetune.scores.band_drops import band_drops
from bandloom.finetune.scores.calibration import fit_temperature
from bandloom.finetune.scores.confusion import HEADLINES
from bandloom.finetune.scores.evaluation import evaluate
from bandloom.finetune.scores.over_seeds import add_seeds, seed_lines
from bandloom.finetune.scores.scoring import score_model
from bandloom.finetune.setting import Setting
from bandloom.run_folder import RunFolder, commit


def write_results(
    setting: Setting,
    model: TaskModel,
    run: RunFolder,
    rival: TaskModel | None,
    parameters: dict[str, int],
    others: Sequence[dict[str, Any]] = (),
) -> None:
    """Calibrate on validation labels, score once on test labels beside the floors, and write the run's report.

    Args:
        setting: data and config.
        model: the trained model; its temperature is set here.
        run: where to.
        rival: the same network trained from random weights, or None.
        parameters: how many train and how many there are.
        others: scores from other seeds, as :func:`bandloom.finetune.scores.over_seeds.add_seeds` takes them.
    """
    config, data = setting.config, setting.data
    fitted_on, batch = int(data.counts.sum((0, 2))[TRAIN]), config.trainer.batch_size
    validation = evaluate(MODEL_ROW, model, data, VAL, batch_size=batch, fitted_on=fitted_on)
    model.temperature = fit_temperature(validation.logits, validation.labels)
    tested = evaluate(
        MODEL_ROW, model, data, TEST, batch_size=batch, fitted_on=fitted_on, temperature=model.temperature
    )
    rows = [tested.row]
    rows += [score_model(RANDOM_ROW, rival, data, TEST, batch, fitted_on)] if rival is not None else []
    rows += run_baselines(chosen(config.baselines, data), data, config.trainer.seed)
    dropped = band_drops(model, data, batch) if config.band_drops else []
    record = metrics_record(
        rows,
        data,
        config.bootstrap,
        calibration=tested.calibration(model.temperature),
        validation=row_record(validation.row, data.label_set, 0),
        mode=config.mode,
        parameters=parameters,
        seed=config.trainer.seed,
        chip_px=setting.chip_px,
        bands=[row_record(row, data.label_set, 0) for row in [tested.row, *dropped]] if dropped else [],
        leakage=leakage_gap(config) if config.split.kind == "random" else None,
    )
    add_seeds(record, others, config.trainer.seed, HEADLINES)
    write_report(run.path, record)
    write_blocks(run.path, [*rows, *dropped], record["split"]["hash"])
    write_evidence(run.path, tested, data, run.metrics())
    _save(setting, model, run, record)
    run.log(config.trainer.steps, "score", **{k: record["rows"][0][k] for k in ("overall", "macro_f1", "mean_iou")})
    say(record)
    logger.info("scores, pictures and the model lie in %s", run.path)


def say(record: dict[str, Any]) -> None:
    """Print the scores, the classes, the commonest mistakes and the split."""
    console.print(score_table(record), class_table(record))
    for line in confusion_lines(record):
        console.print(line)
    if "calibration" in record:
        found = record["calibration"]
        console.print(
            f"calibration error {found['before']['error']:.3f}, at temperature {found['temperature']:.2f}"
            f" {found['after']['error']:.3f}"
        )
    if record.get("bands"):
        found = [
            f"{'all' if each['name'] == MODEL_ROW else each['name']} {each['macro_f1']:.3f}" for each in record["bands"]
        ]
        console.print(f"macro-F1 by bands, the others absent: {', '.join(found)}")
    for line in seed_lines(record):
        console.print(line)
    if record.get("leakage"):
        console.print(leakage_line(record["leakage"]))
    console.print(split_line(record["split"]))


def _save(setting: Setting, model: TaskModel, run: RunFolder, record: dict[str, Any]) -> None:
    config = setting.config
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
    save_task_model(run.checkpoint, model, provenance, card=model_card(model, record, provenance), overwrite=True)
