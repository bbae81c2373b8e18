"""What a training step sees: this rank's chips with the labels of training ground alone, and the loss on them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bandloom.device_batch import DeviceBatch
from bandloom.engine import LossOf
from bandloom.errors import LabelError
from bandloom.label_set import IGNORE_INDEX
from bandloom.trainer import LoadedStep
from finetune.augment import d4
from finetune.losses import LOSSES
from finetune.setting import Setting
from finetune.splits import TRAIN
from finetune.task_data import TaskData, mask_label
from shards.loader import Loader, LoaderState


def make_loss(setting: Setting) -> LossOf:
    """Return ``(module, batch) -> scalar`` as the config says: augmented on the device, then the chosen loss."""
    augment = d4 if setting.config.augment else None
    loss = LOSSES[setting.config.loss]

    def loss_of(module: nn.Module, batch: DeviceBatch) -> torch.Tensor:
        batch = augment(batch) if augment else batch
        target = batch.label if setting.config.task == "segment" else batch.class_index
        if target is None:
            raise LabelError(f"the samples {', '.join(batch.keys[:4])} carry no labels for {setting.config.task}.")
        target = torch.where(target < 0, IGNORE_INDEX, target.long())
        return loss(module(batch.groups).float(), target)

    return loss_of


def training_steps(setting: Setting, state: dict[str, int] | None) -> Iterator[LoadedStep]:
    """Yield training batches without end; labels outside the training ground are 255 in them.

    Raises:
        LabelError: a segmenter's samples carry no label raster.
    """
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
