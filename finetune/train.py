"""A fine-tuning run: labelled shards and an encoder in; a model, its scores and its baselines out."""

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch

from bandloom.command_line.console import logger
from bandloom.finetune.baselines.classic import check_names
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import VAL
from bandloom.finetune.experiment import Experiment, open_experiment, pretrained_or_random
from bandloom.finetune.first_model import save_first, say_what_compares
from bandloom.finetune.model.heads import SegmentHead
from bandloom.finetune.model.lora import merge_lora
from bandloom.finetune.model.task_model import TaskModel, set_trainable
from bandloom.finetune.report.results import Trained, write_results
from bandloom.finetune.scores.kept import first_look
from bandloom.finetune.scores.over_seeds import SeedScores
from bandloom.finetune.scores.row import Row
from bandloom.finetune.seeds import headline_scores, keep_seed, seeds_of, with_seed
from bandloom.finetune.tasks.registry import get_task
from bandloom.finetune.training.batches import make_loss, training_steps
from bandloom.finetune.training.soft_labels import soft_teacher
from bandloom.finetune.training.warm_start import can_warm_start, warm_start
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.encoder import count_parameters
from bandloom.run_state.markers import EXIT_DONE
from bandloom.run_state.run_folder import RunFolder
from bandloom.scores import MODEL_ROW
from bandloom.training.attempt import SCORING_TIMEOUT_S, Attempt
from bandloom.training.engine import Engine
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.snapshots import Snapshots, require_clean
from bandloom.training.trainer import Task, Trainer

LOOKED_AT, CHIPS_LOOKED_AT = 24, 1_000  # validation samples, and chips of one label, that a step is scored on


def finetune(config: FinetuneConfig, run: RunFolder, *, from_scratch: bool = False) -> int:
    """Train on labels and score beside the baselines, or go on from the newest snapshot in ``run``.

    Returns:
        The exit code: 0 done, 75 stopped after a save.

    Raises:
        BandloomError: the shards, the labels, the checkpoint, the config or the run folder cannot be used; nothing was
            written then.
    """
    with Attempt(run, SCORING_TIMEOUT_S) as attempt:
        experiment, model = _prepare(config, attempt.ranks)
        manifest = experiment.data.shards.manifest
        attempt.open(config, from_scratch=from_scratch, made_of=manifest, manifest=manifest)
        attempt.code = _train_and_score(experiment, model, attempt)
    return attempt.code


def _prepare(config: FinetuneConfig, ranks: Ranks) -> tuple[Experiment, TaskModel]:
    """Check everything that can be wrong before the first file is written."""
    task = get_task(config.task)
    check_names(config.baselines or (), task.name, task.baselines)
    task.loss(config.loss)
    experiment, encoder = open_experiment(config, ranks)
    if config.soft is not None:
        soft_teacher(config.soft, experiment)
    return experiment, _task_model(experiment, encoder)


def _task_model(experiment: Experiment, encoder: AnyEncoder) -> TaskModel:
    torch.manual_seed(experiment.config.trainer.seed + 1)  # the same head whatever the encoder
    config = experiment.config
    if config.soft is not None:
        encoder.owe(soft_teacher(config.soft, experiment).encoder.licence())
    return TaskModel(
        encoder,
        experiment.data.sensor,
        experiment.data.label_set,
        config.task,
        experiment.chip_px,
        config.head,
        experiment.data.target,
    )


def _train_and_score(experiment: Experiment, model: TaskModel, attempt: Attempt) -> int:
    config, run = experiment.config, attempt.run
    began = time.monotonic()
    if _fit_head(experiment, model, run):
        attempt.alone(lambda: save_first(experiment, model, run))
    fitted_s, trainer = time.monotonic() - began, _trainer(experiment, model, run)
    parameters = {"trainable": count_parameters(model, trainable=True), "total": count_parameters(model)}
    if experiment.ranks.rank == 0:
        logger.info(
            "%s: %s of %s parameters train", config.mode, *(f"{parameter:,}" for parameter in parameters.values())
        )
    code = trainer.train()
    if code != EXIT_DONE:
        return code
    model, trained_s = _trained(experiment, trainer), time.monotonic() - began - fitted_s
    more = len(seeds_of(experiment)) - 1
    attempt.alone(lambda: say_what_compares(experiment, model, run, trained_s, more * (fitted_s + trained_s)))
    compared = config.compare_random and config.checkpoint is not None
    untrained, code = _beside(experiment, attempt, model, "random", random=True) if compared else (None, EXIT_DONE)
    if code != EXIT_DONE:
        return code
    others, code = _from_other_seeds(experiment, attempt, model)
    if code != EXIT_DONE:
        return code
    attempt.alone(lambda: write_results(experiment, Trained(model, untrained, parameters, others), run))
    return trainer.finish()


def _from_other_seeds(experiment: Experiment, attempt: Attempt, model: TaskModel) -> tuple[list[SeedScores], int]:
    """Train again from every further seed; returns their scores, and the exit code."""
    records: list[SeedScores] = []
    seeds = seeds_of(experiment)
    for number, seed in enumerate(seeds[1:], 2):
        if experiment.ranks.rank == 0:
            logger.info(
                "training %d of %d, from seed %d, to see what of a score is luck; seeds=1 leaves these out",
                number,
                len(seeds),
                seed,
            )
        own = replace(experiment, config=with_seed(experiment.config, seed))
        other, code = _beside(own, attempt, model, f"seed-{seed}", random=False)
        if code != EXIT_DONE:
            return records, code
        scores = attempt.alone(lambda own=own, other=other: headline_scores(own, other))
        place = attempt.run.path / f"seed-{seed}"
        attempt.alone(lambda own=own, other=other, place=place: keep_seed(own, other, place))
        records.append(SeedScores(MODEL_ROW, seed, scores or {}))
    return records, EXIT_DONE


def _beside(
    experiment: Experiment, attempt: Attempt, model: TaskModel, name: str, *, random: bool
) -> tuple[TaskModel, int]:
    """Train the same network from other weights, in a run folder of its own inside the run's.

    Returns:
        The network, and the exit code.
    """
    config = experiment.config.with_changes(checkpoint=None) if random else experiment.config
    if random:
        if experiment.ranks.rank == 0:
            logger.info("from random weights, to see what pretraining gains; compare_random=false leaves it out")
        torch.manual_seed(config.trainer.seed)
        encoder = model.encoder.untrained()
    else:
        encoder = pretrained_or_random(config, model.encoder.statistics)
    experiment = replace(experiment, config=config)
    other = _task_model(experiment, encoder)
    with RunFolder(attempt.run.path / name, inside=attempt.run) as folder:
        if experiment.ranks.rank == 0:
            folder.start(config, from_scratch=False)
        experiment.ranks.barrier()
        _fit_head(experiment, other, folder)
        trainer = _trainer(experiment, other, folder)
        code = trainer.train()
        if code != EXIT_DONE:
            return other, code
        return _trained(experiment, trainer), trainer.finish()


def _trained(experiment: Experiment, trainer: Trainer) -> TaskModel:
    """Return the model of the step that is kept, in one piece."""
    steps, step = experiment.config.trainer.steps, trainer.step
    if experiment.config.keep == "best":
        step = trainer.back_to_best()
    if experiment.ranks.rank == 0 and step < steps:
        logger.info("step %d of %d is kept, which validation ground scores best; keep=last keeps the last", step, steps)
    model = cast(TaskModel, trainer.engine.whole_model())
    merge_lora(model.encoder)
    model.trained_steps = step
    return model


def _trainer(experiment: Experiment, model: TaskModel, run: RunFolder) -> Trainer:
    """Make what trains a model whose head was fitted, or goes on from a snapshot."""
    config, whole = experiment.config.trainer, experiment.config
    set_trainable(model, whole.mode, blocks=whole.last_blocks, rank=whole.lora_rank)
    engine = make_engine(model, config.engine, experiment.ranks, config.steps, model.encoder.config.depth)
    looks = whole.curve_points if experiment.task.scorer.curve else 0
    hooks = [(max(1, config.steps // looks), _validation(experiment, engine, run))] if looks else []
    task = Task(make_loss(experiment), lambda state: training_steps(experiment, state), hooks, look_first=True)
    return Trainer(run, config, engine, task)


def _fit_head(experiment: Experiment, model: TaskModel, run: RunFolder) -> bool:
    """Fit the head, or take a map's from a training of this run with the same seed: it sees no encoder.

    Returns:
        Whether the head is fitted now; False where a snapshot holds what became of it, or where heads start as drawn.
    """
    snapshots = Snapshots(run.path / "snapshots", experiment.ranks)
    seed, head = experiment.config.trainer.seed, cast("Any", model.head)
    if latest := snapshots.latest():
        if isinstance(head, SegmentHead):
            head.pixel.weigh_as(latest.load(), "model.head.pixel.")
        return False
    require_clean(snapshots)  # before a first model is written over one that trained
    if seed in experiment.fitted:
        head.pixel.load_state_dict(experiment.fitted[seed])
        return True
    fit = warm_start(model, experiment.data, experiment.config)
    if fit is None:
        return can_warm_start(model, experiment.config)
    experiment.fitted[seed] = copy.deepcopy(head.pixel.state_dict())
    if experiment.ranks.rank == 0:
        weights = {f"{name}_weight": weight for name, weight in fit.weights.items()}
        run.log(0, "fit", loss=fit.loss, fit_seconds=fit.fit_seconds, **weights)
    return True


def _validation(experiment: Experiment, engine: Engine, run: RunFolder) -> Callable[[int], float | None]:
    """Return a hook that scores some validation ground, for the learning curve and to choose the step that is kept."""
    few, scorer = _looked_at(experiment.data), experiment.task.scorer
    began_from: list[Row] = []
    held_out = [experiment.config.trainer.seed, experiment.data.shards.manifest]

    def look(step: int) -> float | None:
        model = cast(TaskModel, engine.whole_model())  # every rank takes part, rank 0 looks
        if experiment.ranks.rank != 0:
            return None
        seen = scorer.look("validation", model, few, VAL, experiment.config.trainer.batch_size)
        scores = seen.row.scores(few.label_set.names)
        run.log(step, "score", **{key: scores[name] for key, name in scorer.curve.items()})
        if not began_from:  # the first look of the run, of whichever attempt
            began_from.append(first_look(run.path, step, held_out, seen.row))
        return scorer.kept_by(seen, began_from[0])

    return look


def _looked_at(data: TaskData) -> TaskData:
    """Return the validation samples that steps are scored on, the same for all of them."""
    return data.some(VAL, LOOKED_AT if data.answer.per_pixel else CHIPS_LOOKED_AT)
