"""A fine-tuning run: labelled shards and an encoder in; a model, its scores and its floors out."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from bandloom.console import logger
from bandloom.device_batch import DeviceBatch
from bandloom.encoder import Encoder, count_parameters
from bandloom.engine import Engine, make_engine
from bandloom.errors import LabelError
from bandloom.label_set import IGNORE_INDEX
from bandloom.markers import EXIT_DONE
from bandloom.ranks import Ranks
from bandloom.run_folder import RunFolder
from bandloom.trainer import LoadedStep, Task, Trainer
from finetune.augment import d4
from finetune.baselines import check_names
from finetune.config import FinetuneConfig
from finetune.lora import merge_lora
from finetune.losses import LOSSES
from finetune.metrics import scores
from finetune.model import TaskModel, set_trainable
from finetune.results import write_results
from finetune.scoring import score_model
from finetune.setting import Setting, open_setting
from finetune.splits import TRAIN, VAL
from finetune.task_data import TaskData, mask_label
from finetune.warm_start import warm_start
from shards.loader import Loader, LoaderState

CURVE_SAMPLES = 24  # validation samples that a point of the learning curve is measured on
SCORING_TIMEOUT_S = 4 * 3600.0  # the other ranks wait while rank 0 scores


def finetune(config: FinetuneConfig, run: RunFolder, *, from_scratch: bool = False) -> int:
    """Train on labels and score beside the floors, or go on from the newest snapshot in ``run``.

    Returns:
        The exit code: 0 done, 75 stopped after a save.

    Raises:
        BandloomError: the shards, the labels, the checkpoint, the config or the run folder cannot be used; nothing was
            written then.
    """
    ranks = Ranks.from_environment()
    ranks.start(SCORING_TIMEOUT_S)
    try:
        setting, model = _prepare(config, ranks)
        if ranks.rank == 0:
            run.start(config, from_scratch=from_scratch)
        ranks.barrier()
        return _train_and_score(setting, model, run)
    finally:
        run.close()
        ranks.stop()


def _prepare(config: FinetuneConfig, ranks: Ranks) -> tuple[Setting, TaskModel]:
    """Check everything that can be wrong before the first file is written."""
    check_names(config.baselines or (), config.task)
    setting, encoder = open_setting(config, ranks)
    return setting, _task_model(setting, encoder)


def _task_model(setting: Setting, encoder: Encoder) -> TaskModel:
    torch.manual_seed(setting.config.trainer.seed + 1)  # the same head whatever the encoder
    model = TaskModel(encoder, setting.data.sensor, setting.data.label_set, setting.config.task, setting.chip_px)
    config = setting.config
    warm_start(model, setting.data, config.trainer.seed, config.warm_steps)
    set_trainable(model, config.mode, blocks=config.last_blocks, rank=config.lora_rank)
    return model


def _train_and_score(setting: Setting, model: TaskModel, run: RunFolder) -> int:
    config, ranks = setting.config, setting.ranks
    if ranks.rank == 0:
        logger.info("%s: %s of %s parameters train", config.mode, f"{count_parameters(model, trainable=True):,}",
                    f"{count_parameters(model):,}")  # fmt: skip
    parameters = {"trainable": count_parameters(model, trainable=True), "total": count_parameters(model)}
    trainer = _trainer(setting, model, run, curve_points=config.curve_points)
    code = trainer.train()
    if code != EXIT_DONE:
        return code
    model = cast(TaskModel, trainer.engine.whole_model())
    merge_lora(model.encoder)
    rival = _random_rival(setting, run, model) if config.compare_random and config.checkpoint else None
    if rival is not None and rival[1] != EXIT_DONE:
        return rival[1]
    if ranks.rank == 0:
        write_results(setting, model, run, None if rival is None else rival[0], parameters)
    return trainer.finish()


def _random_rival(setting: Setting, run: RunFolder, model: TaskModel) -> tuple[TaskModel, int]:
    """Train the same network from random weights, in a run folder of its own inside the run's."""
    torch.manual_seed(setting.config.trainer.seed)
    encoder = Encoder(model.encoder.config, model.encoder.statistics)
    config = setting.config.with_changes(checkpoint=None)
    rival = _task_model(replace(setting, config=config), encoder)
    with RunFolder(run.path / "random") as folder:
        if setting.ranks.rank == 0:
            folder.start(config)
        setting.ranks.barrier()
        trainer = _trainer(setting, rival, folder)
        code = trainer.train()
        rival = cast(TaskModel, trainer.engine.whole_model())
        merge_lora(rival.encoder)
        return rival, trainer.finish() if code == EXIT_DONE else code


def _trainer(setting: Setting, model: TaskModel, run: RunFolder, *, curve_points: int = 0) -> Trainer:
    config = setting.config.trainer
    engine = make_engine(model, config.engine, setting.ranks, config.steps, model.encoder.config.depth)
    augment = d4 if setting.config.augment else None
    loss = LOSSES[setting.config.loss]

    def loss_of(module: nn.Module, batch: DeviceBatch) -> torch.Tensor:
        batch = augment(batch) if augment else batch
        target = batch.label if setting.config.task == "segment" else batch.class_index
        if target is None:
            raise LabelError(f"the samples {', '.join(batch.keys[:4])} carry no labels for {setting.config.task}.")
        target = torch.where(target < 0, IGNORE_INDEX, target.long())
        return loss(module(batch.groups).float(), target)

    hooks = [(max(1, config.steps // curve_points), _validation(setting, engine, run))] if curve_points else []
    return Trainer(run, config, engine, Task(loss_of, lambda state: _steps(setting, state), hooks))


def _validation(setting: Setting, engine: Engine, run: RunFolder) -> Callable[[int], None]:
    """Return a hook that scores some validation ground and writes it into the metrics, for the learning curve."""
    few = setting.data.some(VAL, CURVE_SAMPLES)

    def look(step: int) -> None:
        model = cast(TaskModel, engine.whole_model())  # every rank takes part, rank 0 looks
        if setting.ranks.rank == 0:
            found = scores(score_model("validation", model, few, VAL, setting.config.trainer.batch_size).confusion,
                           few.label_set.names)  # fmt: skip
            run.log(step, "score", validation_macro_f1=found["macro_f1"], validation_overall=found["overall"])
        setting.ranks.barrier()

    return look


def _steps(setting: Setting, state: dict[str, int] | None) -> Iterator[LoadedStep]:
    """Yield training batches; labels outside the training ground are 255 in them."""
    config, data, ranks = setting.config.trainer, setting.data, setting.ranks
    entries = {entry.key: entry for entry in data.shards.entries}
    start = LoaderState(**state) if state else LoaderState(epoch=0, position=0)
    loader = Loader(data.shards, data.indices_of(TRAIN), config.batch_size, seed=config.seed, rank=ranks.rank,
                    world=ranks.world, crop_px=setting.chip_px, workers=config.workers, start=start)  # fmt: skip
    for batch in loader:
        after = {"epoch": batch.state.epoch, "position": batch.state.position}
        loaded = DeviceBatch.of(batch, ranks.device)
        if setting.config.task == "segment":
            if batch.label is None:
                raise LabelError(f"the samples {', '.join(batch.keys[:4])} carry no label raster; segment needs one.")
            label = training_label(batch, entries, data)
            loaded = replace(loaded, label=torch.from_numpy(label).to(ranks.device))
        yield LoadedStep(loaded, after)


def training_label(batch: Any, entries: dict[str, Any], data: TaskData) -> np.ndarray:
    """Return a batch's labels ``(B, H, W)`` uint8 with everything but measured training ground at 255."""
    shape = batch.label.shape[-2:]
    roles = [data.split.roles(entries[key], (float(x), float(y)), shape)
             for key, (x, y) in zip(batch.keys, batch.corner_m, strict=True)]  # fmt: skip
    return mask_label(batch.label, batch.groups, np.stack(roles), TRAIN)
