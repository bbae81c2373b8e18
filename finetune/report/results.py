"""Results of a finished training of any task: a calibrated model, scores beside baselines, a report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bandloom.command_line.console import console, logger
from bandloom.finetune.baselines.classic import chosen
from bandloom.finetune.data.splits import TEST, TRAIN
from bandloom.finetune.experiment import Experiment
from bandloom.finetune.first_model import provenance_of
from bandloom.finetune.model.checkpoint import save_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.report.leakage import leakage_gap, leakage_line
from bandloom.finetune.report.record import metrics_record, score_row, write_blocks, write_evidence, write_report
from bandloom.finetune.report.tables import class_table, model_card, result_lines, score_table, split_line
from bandloom.finetune.scores.band_drops import band_drops
from bandloom.finetune.scores.kept import KeptScorer
from bandloom.finetune.scores.over_seeds import SeedScores, summary_of
from bandloom.finetune.scores.row import Row
from bandloom.finetune.scores.scorer import Look, Scorer
from bandloom.run_state.pulse import alive, spoken
from bandloom.run_state.run_folder import RunFolder
from bandloom.scores import MODEL_ROW, RANDOM_ROW, TITLES, ScoreRecord, figure


@dataclass(frozen=True)
class Trained:
    """What the trainings of a run gave.

    Args:
        model: the trained model; its temperature and thresholds are set when it is scored.
        untrained: the same network trained from random weights, or None.
        parameters: how many train and how many there are.
        others: scores from other seeds.
    """

    model: TaskModel
    untrained: TaskModel | None
    parameters: dict[str, int]
    others: Sequence[SeedScores] = ()


@dataclass(frozen=True)
class Results:
    """The record of a run, and what it was made from."""

    record: ScoreRecord
    rows: list[Row]
    dropped: list[Row]
    tested: Look


def write_results(experiment: Experiment, trained: Trained, run: RunFolder) -> None:
    """Calibrate on validation labels, score once on test labels beside the baselines, and write the run's report."""
    scorer, config = experiment.task.scorer, experiment.config
    scored = score(experiment, trained)
    with spoken("writing the report"):
        write_report(run.path, scored.record)
        write_blocks(run.path, [*scored.rows, *scored.dropped], scored.record.split["hash"])
        write_evidence(run.path, scored.tested, experiment.data, run.metrics())
        _save(experiment, trained.model, run, scored.record)
    run.log_once(config.trainer.steps, "score", **{name: scored.record.rows[0].scores[name] for name in scorer.table})
    say(scored.record, scorer)
    logger.info("scores, pictures and the model lie in %s", run.path)


def score(experiment: Experiment, trained: Trained) -> Results:
    """Calibrate on validation labels and score once on test labels, beside the baselines."""
    config, data, task, model = experiment.config, experiment.data, experiment.task, trained.model
    scorer, batch, seed = task.scorer, config.trainer.batch_size, config.trainer.seed
    fitted_on, names, looks = data.labels_in(TRAIN), data.label_set.names, KeptScorer(scorer)
    validation = looks.calibrate(model, data, batch)
    tested = looks.look(MODEL_ROW, model, data, TEST, batch)
    own = replace(tested.row, seeds=(seed,), fitted_on=fitted_on)
    rows: list[Row] = [own]
    if trained.untrained is not None:
        other = looks.other(RANDOM_ROW, trained.untrained, data, batch)
        rows.append(replace(other, kind="random weights", seeds=(seed,), fitted_on=fitted_on))
    wanted = chosen(config.baselines, data, task.standard, task.baselines)
    rows += task.run_baselines(wanted, data, seed, task.baselines)
    dropped = band_drops(looks, model, data, batch) if config.band_drops else []
    told: dict[str, Any] = {
        "calibration": tested.calibration(),
        "validation": score_row(replace(validation, seeds=(seed,), fitted_on=fitted_on), names),
        "mode": config.mode,
        "parameters": trained.parameters,
        "seed": seed,
        "chip_px": experiment.chip_px,
        "bands": [score_row(row, names) for row in [own, *dropped]] if dropped else [],
        "leakage": leakage_gap(config) if config.split.kind == "random" else None,
    }
    record = alive(lambda: metrics_record(rows, data, scorer, config.bootstrap, **told), "intervals")
    over_seeds = summary_of(record, trained.others, seed, scorer.headlines)
    return Results(record.model_copy(update={"over_seeds": over_seeds}), rows, dropped, tested)


def say(record: ScoreRecord, scorer: Scorer) -> None:
    """Print the scores, the classes, the commonest mistakes and the split."""
    console.print(score_table(record, scorer))
    if record.rows[0].classes:
        console.print(class_table(record, scorer))
    for line in result_lines(record, scorer):
        console.print(line)
    for row in record.levels:
        scores = ", ".join(f"{TITLES.get(name, name)} {figure(name, row.scores[name])}" for name in scorer.table)
        console.print(f"{row.name}: {scores}", markup=False)
    if record.leakage:
        console.print(leakage_line(record.leakage))
    console.print(split_line(record.split))


def _save(experiment: Experiment, model: TaskModel, run: RunFolder, record: ScoreRecord) -> None:
    provenance = provenance_of(experiment, model) | {"split_hash": record.split["hash"]}
    card = model_card(model, record, experiment.task.scorer, provenance)
    save_task_model(run.checkpoint, model, provenance, card=card, overwrite=True)
