"""A fine-tuning run: labelled shards and an encoder in; a model, its scores and its baselines out."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch

from bandloom.console import logger
from bandloom.finetune.baselines.classic import check_names
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.splits import VAL
from bandloom.finetune.model.lora import merge_lora
from bandloom.finetune.model.task_model import TaskModel, set_trainable
from bandloom.finetune.report.results import Trained, write_results
from bandloom.finetune.scores.over_seeds import SeedScores
from bandloom.finetune.seeds import headline_scores, seeds_of, with_seed
from bandloom.finetune.setting import Setting, open_setting, pretrained_or_random
from bandloom.finetune.tasks.registry import get_task
from bandloom.finetune.training.batches import make_loss, training_steps
from bandloom.finetune.training.soft_labels import soft_teacher
from bandloom.finetune.training.warm_start import warm_start
from bandloom.markers import EXIT_DONE
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.encoder import count_parameters
from bandloom.run_folder import RunFolder
from bandloom.scores import MODEL_ROW
from bandloom.training.attempt import SCORING_TIMEOUT_S, Attempt
from bandloom.training.engine import Engine
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.snapshots import Snapshots
from bandloom.training.trainer import Task, Trainer

CURVE_SAMPLES = 24  # validation samples that a point of the learning curve is measured on


def finetune(config: FinetuneConfig, run: RunFolder, *, from_scratch: bool = False) -> int:
    """Train on labels and score beside the baselines, or go on from the newest snapshot in ``run``.

    Returns:
        The exit code: 0 done, 75 stopped after a save.

    Raises:
        BandloomError: the shards, the labels, the checkpoint, the config or the run folder cannot be used; nothing was
            written then.
    """
    with Attempt(run, SCORING_TIMEOUT_S) as attempt:
        setting, model = _prepare(config, attempt.ranks)
        attempt.open(config, from_scratch=from_scratch, made_of=setting.data.shards.manifest)
        attempt.code = _train_and_score(setting, model, attempt)
    return attempt.code


def _prepare(config: FinetuneConfig, ranks: Ranks) -> tuple[Setting, TaskModel]:
    """Check everything that can be wrong before the first file is written."""
    task = get_task(config.task)
    check_names(config.baselines or (), task.name, task.baselines)
    task.loss(config.loss)
    setting, encoder = open_setting(config, ranks)
    if config.soft is not None:
        soft_teacher(config.soft, setting)
    return setting, _task_model(setting, encoder)


def _task_model(setting: Setting, encoder: AnyEncoder) -> TaskModel:
    torch.manual_seed(setting.config.trainer.seed + 1)  # the same head whatever the encoder
    config = setting.config
    if config.soft is not None:
        encoder.owe(soft_teacher(config.soft, setting).encoder.licence())
    return TaskModel(
        encoder,
        setting.data.sensor,
        setting.data.label_set,
        config.task,
        setting.chip_px,
        config.head,
        setting.data.target,
    )


def _train_and_score(setting: Setting, model: TaskModel, attempt: Attempt) -> int:
    config, run = setting.config, attempt.run
    trainer = _trainer(setting, model, run, curve_points=config.curve_points)
    parameters = {"trainable": count_parameters(model, trainable=True), "total": count_parameters(model)}
    if setting.ranks.rank == 0:
        logger.info(
            "%s: %s of %s parameters train", config.mode, *(f"{parameter:,}" for parameter in parameters.values())
        )
    code = trainer.train()
    if code != EXIT_DONE:
        return code
    model = cast(TaskModel, trainer.engine.whole_model())
    merge_lora(model.encoder)
    compared = config.compare_random and config.checkpoint is not None
    untrained, code = _beside(setting, attempt, model, "random", random=True) if compared else (None, EXIT_DONE)
    if code != EXIT_DONE:
        return code
    others, code = _from_other_seeds(setting, attempt, model)
    if code != EXIT_DONE:
        return code
    attempt.alone(lambda: write_results(setting, Trained(model, untrained, parameters, others), run))
    return trainer.finish()


def _from_other_seeds(setting: Setting, attempt: Attempt, model: TaskModel) -> tuple[list[SeedScores], int]:
    """Train again from every further seed; returns their scores, and the exit code."""
    records: list[SeedScores] = []
    seeds = seeds_of(setting)
    for number, seed in enumerate(seeds[1:], 2):
        if setting.ranks.rank == 0:
            logger.info(
                "training %d of %d, from seed %d, to see what of a score is luck; seeds=1 leaves these out",
                number,
                len(seeds),
                seed,
            )
        own = replace(setting, config=with_seed(setting.config, seed))
        other, code = _beside(own, attempt, model, f"seed-{seed}", random=False)
        if code != EXIT_DONE:
            return records, code
        found = attempt.alone(lambda own=own, other=other: headline_scores(own, other))
        records.append(SeedScores(MODEL_ROW, seed, found or {}))
    return records, EXIT_DONE


def _beside(setting: Setting, attempt: Attempt, model: TaskModel, name: str, *, random: bool) -> tuple[TaskModel, int]:
    """Train the same network from other weights, in a run folder of its own inside the run's.

    Returns:
        The network, and the exit code.
    """
    config = setting.config.with_changes(checkpoint=None) if random else setting.config
    if random:
        if setting.ranks.rank == 0:
            logger.info("from random weights, to see what pretraining gains; compare_random=false leaves it out")
        torch.manual_seed(config.trainer.seed)
        encoder = model.encoder.untrained()
    else:
        encoder = pretrained_or_random(config, model.encoder.statistics)
    setting = replace(setting, config=config)
    other = _task_model(setting, encoder)
    with RunFolder(attempt.run.path / name, inside=attempt.run) as folder:
        if setting.ranks.rank == 0:
            folder.start(config)
        setting.ranks.barrier()
        trainer = _trainer(setting, other, folder)
        code = trainer.train()
        other = cast(TaskModel, trainer.engine.whole_model())
        merge_lora(other.encoder)
        return other, trainer.finish() if code == EXIT_DONE else code


def _trainer(setting: Setting, model: TaskModel, run: RunFolder, *, curve_points: int = 0) -> Trainer:
    """Fit the head, unless a snapshot says what has become of it, and make what trains."""
    config, whole = setting.config.trainer, setting.config
    if not Snapshots(run.path / "snapshots", setting.ranks).latest():
        _fit_head(setting, model, run)
    set_trainable(model, whole.mode, blocks=whole.last_blocks, rank=whole.lora_rank)
    engine = make_engine(model, config.engine, setting.ranks, config.steps, model.encoder.config.depth)
    looks = curve_points if setting.task.scorer.curve else 0
    hooks = [(max(1, config.steps // looks), _validation(setting, engine, run))] if looks else []
    return Trainer(run, config, engine, Task(make_loss(setting), lambda state: training_steps(setting, state), hooks))


def _fit_head(setting: Setting, model: TaskModel, run: RunFolder) -> None:
    """Fit the head, or take a map's from a training of this run with the same seed: it sees no encoder."""
    seed, head = setting.config.trainer.seed, cast("Any", model.head)
    if seed in setting.fitted:
        head.pixel.load_state_dict(setting.fitted[seed])
        return
    fit = warm_start(model, setting.data, setting.config)
    if fit is None:
        return
    setting.fitted[seed] = copy.deepcopy(head.pixel.state_dict())
    if setting.ranks.rank == 0:
        weights = {f"{name}_weight": weight for name, weight in fit.weights.items()}
        run.log(0, "fit", loss=fit.loss, fit_seconds=fit.fit_seconds, **weights)


def _validation(setting: Setting, engine: Engine, run: RunFolder) -> Callable[[int], None]:
    """Return a hook that scores some validation ground and writes it into the metrics, for the learning curve."""
    few, scorer = setting.data.some(VAL, CURVE_SAMPLES), setting.task.scorer

    def look(step: int) -> None:
        model = cast(TaskModel, engine.whole_model())  # every rank takes part, rank 0 looks
        if setting.ranks.rank == 0:
            row = scorer.shown("validation", model, few, VAL, setting.config.trainer.batch_size)
            found = row.scores(few.label_set.names)
            run.log(step, "score", **{key: found[name] for key, name in scorer.curve.items()})

    return look
