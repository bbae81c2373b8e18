"""What a training step sees: this rank's chips with the labels of training ground alone, and the loss on them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bandloom.errors import ConfigError, LabelError
from bandloom.finetune.data.change import ChangeData
from bandloom.finetune.data.labelled import TaskData, mask_label
from bandloom.finetune.data.multilabel import MultilabelData
from bandloom.finetune.data.splits import PIXEL_M, TRAIN
from bandloom.finetune.model.task_model import Task
from bandloom.finetune.scores.scoring import cut
from bandloom.finetune.setting import Setting
from bandloom.finetune.training.label_loss import label_loss
from bandloom.finetune.training.losses import LOSSES, MULTILABEL_LOSSES, Loss
from bandloom.shards.read.loader import Batch, Loader, LoaderState
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.step_loss import StepLoss
from bandloom.training.trainer import LoadedStep


def make_loss(setting: Setting) -> StepLoss:
    """Return a step's loss as the config says: augmented on the device, then the chosen loss."""
    return label_loss(setting.config, chosen_loss(setting.config.task, setting.config.loss))


def chosen_loss(task: Task, name: str | None) -> Loss:
    """Return the named loss, or the task's usual one.

    Raises:
        ConfigError: the loss is made for another task.
    """
    losses = MULTILABEL_LOSSES if task == "multilabel" else LOSSES
    name = name or next(iter(losses))
    if name not in losses:
        raise ConfigError(f"loss is {name!r}, which task {task} cannot use; use one of {', '.join(losses)}.")
    return losses[name]


def training_steps(setting: Setting, state: dict[str, int] | None) -> Iterator[LoadedStep]:
    """Yield training batches without end; labels outside the training ground are 255 in them.

    Raises:
        LabelError: a segmenter's samples carry no label raster.
    """
    config, data, ranks = setting.config.trainer, setting.data, setting.ranks
    entries = {entry.key: entry for entry in data.shards.entries}
    places = {data.shards.entries[index].key: index for index in data.indices.tolist()}
    start = LoaderState(**state) if state else LoaderState(epoch=0, position=0)
    loader = Loader(
        data.shards,
        data.indices_of(TRAIN),
        config.batch_size,
        seed=config.seed,
        rank=ranks.rank,
        world=ranks.world,
        crop_px=setting.chip_px,
        workers=config.workers,
        start=start,
    )
    for batch in loader:
        after = {"epoch": batch.state.epoch, "position": batch.state.position}
        if isinstance(data, ChangeData):
            batch = with_pairs(batch, data, places)
        seen = replace(batch, groups=dict(data.own(batch.groups)), sensor=data.sensor)
        loaded = DeviceBatch.of(seen, ranks.device)
        if isinstance(data, MultilabelData):
            targets = torch.from_numpy(data.targets(batch.keys)).to(ranks.device)
            loaded = replace(loaded, label=None, class_index=targets)
        elif setting.config.task != "classify":
            if batch.label is None:
                raise LabelError(f"the samples {', '.join(batch.keys[:4])} carry no label raster.")
            label = training_label(batch, entries, data)
            loaded = replace(loaded, label=torch.from_numpy(label).to(ranks.device))
        yield LoadedStep(loaded, after)


def with_pairs(batch: Batch, data: ChangeData, places: Mapping[str, int]) -> Batch:
    """Return a batch of earlier dates as one of pairs: the same crops, both dates stacked, labels of change."""
    side = batch.groups[min(batch.groups)].shape[-1] * min(batch.groups) // PIXEL_M
    groups: dict[int, list[np.ndarray]] = {gsd: [] for gsd in batch.groups}
    labels = []
    for key, (x, y) in zip(batch.keys, batch.corner_m, strict=True):
        entry, pair = data.shards.entries[places[key]], data.read(places[key])
        row, column = round((entry.y_m - y) / PIXEL_M), round((x - entry.x_m) / PIXEL_M)
        for gsd, part in cut(pair.groups, row, column, side).items():
            groups[gsd].append(part)
        labels.append(pair.label[row : row + side, column : column + side])
    return replace(batch, groups={gsd: np.stack(parts) for gsd, parts in groups.items()}, label=np.stack(labels))


def training_label(batch: Any, entries: dict[str, Any], data: TaskData) -> np.ndarray:
    """Return a batch's labels ``(B, H, W)`` uint8 with everything but measured training ground at 255."""
    shape = batch.label.shape[-2:]
    roles = [
        data.split.roles(entries[key], (float(x), float(y)), shape)
        for key, (x, y) in zip(batch.keys, batch.corner_m, strict=True)
    ]
    return mask_label(batch.label, batch.groups, np.stack(roles), TRAIN)
