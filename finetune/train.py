"""A fine-tuning run: labelled shards and an encoder in; a model, its scores and its floors out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from bandloom.checkpoint import load_encoder
from bandloom.console import console, logger
from bandloom.device_batch import DeviceBatch
from bandloom.encoder import Encoder, EncoderConfig, count_parameters
from bandloom.engine import make_engine
from bandloom.errors import ConfigError, LabelError
from bandloom.label_set import IGNORE_INDEX
from bandloom.markers import EXIT_DONE
from bandloom.ranks import Ranks
from bandloom.run_folder import RunFolder, commit
from bandloom.statistics import Statistics
from bandloom.trainer import LoadedStep, Task, Trainer
from finetune.augment import d4
from finetune.baselines import BASELINES, Row, check_names, run_baselines
from finetune.checkpoint import save_task_model
from finetune.config import FinetuneConfig
from finetune.lora import merge_lora
from finetune.losses import LOSSES
from finetune.model import TaskModel, set_trainable
from finetune.report import (
    MODEL_ROW,
    RANDOM_ROW,
    class_table,
    metrics_record,
    model_card,
    row_record,
    score_table,
    write_report,
)
from finetune.scoring import score_model
from finetune.split_choice import make_split
from finetune.splits import PIXEL_M, TEST, TRAIN, VAL
from finetune.task_data import TaskData, mask_label, pick_sensor
from finetune.warm_start import warm_start
from shards.loader import Loader, LoaderState
from shards.shard_set import ShardSet

SCORING_TIMEOUT_S = 4 * 3600.0  # the other ranks wait while rank 0 scores
DEFAULT_CHIP_M = 1200


@dataclass(frozen=True)
class _Setting:
    """What both networks of a run share: the data, the chip and the ranks."""

    config: FinetuneConfig
    data: TaskData
    chip_px: int
    ranks: Ranks


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


def _prepare(config: FinetuneConfig, ranks: Ranks) -> tuple[_Setting, TaskModel]:
    """Check everything that can be wrong before the first file is written."""
    check_names(config.baselines or (), config.task)
    shards = ShardSet(config.shards)
    sensor = pick_sensor(shards, config.sensor)
    if shards.label_set is None:
        raise LabelError(f"the shards {config.shards} carry no labels; build them from scenes with masks, or choose"
                         " labelled shards.")  # fmt: skip
    encoder = pretrained_or_random(config, Statistics.from_mapping(shards.statistics))
    data = TaskData(shards, config.task, make_split(config.split, shards, config.task, sensor), sensor)
    smallest = min(int(shards.entries[i].side_px) for i in data.indices)
    if config.chip_px is not None and config.chip_px > smallest:
        raise ConfigError(f"chip_px is {config.chip_px}, but samples of {config.shards} are {smallest} pixels wide; use"
                          f" {smallest} or less.")  # fmt: skip
    setting = _Setting(config, data, config.chip_px or default_chip_px(data, encoder.config.token_m), ranks)
    data.check()
    model = _task_model(setting, encoder)
    return setting, model


def pretrained_or_random(config: FinetuneConfig, statistics: Statistics) -> Encoder:
    """Return the checkpoint's encoder, or one of the named size with weights drawn from the seed."""
    torch.manual_seed(config.trainer.seed)
    if config.checkpoint is None:
        return Encoder(EncoderConfig.of_size(config.size, token_m=config.token_m), statistics)
    return load_encoder(checkpoint_folder(config.checkpoint))


def checkpoint_folder(path: Path) -> Path:
    """Return a run's finished checkpoint when a run folder is given, or the path itself."""
    return path / "checkpoint" if (path / "checkpoint").is_dir() else path


def default_chip_px(data: TaskData, token_m: int) -> int:
    """Return the side of a chip: the whole sample to classify, at most 1.2 km of it to segment."""
    side_m = min(int(data.shards.entries[i].side_px) for i in data.indices) * PIXEL_M
    wanted_m = side_m if data.task == "classify" else min(side_m, DEFAULT_CHIP_M)
    return max(1, wanted_m // token_m) * token_m // PIXEL_M


def _task_model(setting: _Setting, encoder: Encoder) -> TaskModel:
    torch.manual_seed(setting.config.trainer.seed + 1)  # the same head whatever the encoder
    model = TaskModel(encoder, setting.data.sensor, setting.data.label_set, setting.config.task, setting.chip_px)
    config = setting.config
    warm_start(model, setting.data, config.trainer.seed)
    set_trainable(model, config.mode, blocks=config.last_blocks, rank=config.lora_rank)
    return model


def _train_and_score(setting: _Setting, model: TaskModel, run: RunFolder) -> int:
    config, ranks = setting.config, setting.ranks
    if ranks.rank == 0:
        logger.info("%s: %s of %s parameters train", config.mode, f"{count_parameters(model, trainable=True):,}",
                    f"{count_parameters(model):,}")  # fmt: skip
    parameters = {"trainable": count_parameters(model, trainable=True), "total": count_parameters(model)}
    trainer = _trainer(setting, model, run)
    code = trainer.train()
    if code != EXIT_DONE:
        return code
    model = cast(TaskModel, trainer.engine.whole_model())
    merge_lora(model.encoder)
    rival = _random_rival(setting, run, model) if config.compare_random and config.checkpoint else None
    if rival is not None and rival[1] != EXIT_DONE:
        return rival[1]
    if ranks.rank == 0:
        _write_results(setting, model, run, None if rival is None else rival[0], parameters)
    return trainer.finish()


def _random_rival(setting: _Setting, run: RunFolder, model: TaskModel) -> tuple[TaskModel, int]:
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


def _write_results(setting: _Setting, model: TaskModel, run: RunFolder, rival: TaskModel | None,
                   parameters: dict[str, int]) -> None:  # fmt: skip
    config, data = setting.config, setting.data
    fitted_on, batch = int(data.counts.sum((0, 2))[TRAIN]), config.trainer.batch_size
    names = BASELINES[config.task] if config.baselines is None else config.baselines
    validation = score_model(MODEL_ROW, model, data, VAL, batch, fitted_on)
    rows = [score_model(MODEL_ROW, model, data, TEST, batch, fitted_on)]
    rows += [score_model(RANDOM_ROW, rival, data, TEST, batch, fitted_on)] if rival is not None else []
    rows += run_baselines(list(names), data, config.trainer.seed)
    record = _record(setting, rows, validation, parameters)
    write_report(run.path, record)
    provenance = {"shards": str(config.shards), "checkpoint": str(config.checkpoint), "mode": config.mode,
                  "steps": config.trainer.steps, "seed": config.trainer.seed, "commit": commit(),
                  "split_hash": record["split"]["hash"], "config": config.model_dump(mode="json")}  # fmt: skip
    save_task_model(run.checkpoint, model, provenance, card=model_card(model, record, provenance), overwrite=True)
    run.log(config.trainer.steps, "score", **{k: record["rows"][0][k] for k in ("overall", "macro_f1", "mean_iou")})
    console.print(score_table(record), class_table(record))
    logger.info("scores, pictures and the model lie in %s", run.path)


def _record(setting: _Setting, rows: list[Row], validation: Row, parameters: dict[str, int]) -> dict[str, Any]:
    config = setting.config
    return metrics_record(
        rows,
        setting.data,
        config.bootstrap,
        validation=row_record(validation, setting.data.label_set, 0),
        mode=config.mode,
        parameters=parameters,
        seed=config.trainer.seed,
        chip_px=setting.chip_px,
    )


def _trainer(setting: _Setting, model: TaskModel, run: RunFolder) -> Trainer:
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

    return Trainer(run, config, engine, Task(loss_of, lambda state: _steps(setting, state)))


def _steps(setting: _Setting, state: dict[str, int] | None) -> Iterator[LoadedStep]:
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
