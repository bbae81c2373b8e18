"""LP-FT: fits the head alone before the encoder is fine-tuned (Kumar et al. 2022, 2202.10054).

A classifier's head is linear maps of pooled tokens and of what needs no encoder (fit_chips.py). Of a segmenter's head
the pixel's part is fitted, on shuffled pixels: chips hold thousands that resemble each other, so a network fed with
chips learns spectra slowly; shuffled pixels teach them at once.
"""

import copy
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from bandloom.classes.label_set import known_labels
from bandloom.command_line.console import track
from bandloom.finetune.config import FinetuneConfig, PerturbConfig
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TRAIN, VAL
from bandloom.finetune.model.heads import ClassifyHead, SegmentHead
from bandloom.finetune.model.near import Near
from bandloom.finetune.model.pixel_part import PixelPart
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.training.few_labels import FIRST_STEPS, few_labels, fit_taught, training_ground
from bandloom.finetune.training.fit_chips import fit_classifier
from bandloom.finetune.training.fit_pixels import PixelFit, fit_pixels
from bandloom.finetune.training.linear_fit import Hide
from bandloom.finetune.training.perturb import lost_of
from bandloom.finetune.training.pixel_network import LabelledPixels
from bandloom.sensors import Sensor

PIXELS, VAL_PIXELS = 60_000, 20_000


def warm_start(model: TaskModel, data: TaskData, config: FinetuneConfig) -> PixelFit | None:
    """Fit the head on the training role; validation chooses when to stop.

    Args:
        model: a segmenter or a classifier; others are left as they are.
        data: its labels.
        config: ``trainer.seed`` draws the pixels and their order, the same on every rank; ``perturb`` takes bands away
            from pixels as from chips; ``warm_steps`` at most for a segmenter; 0 leaves heads as drawn.

    Returns:
        How a segmenter's per-pixel networks were fitted, or None.
    """
    seed, steps = config.trainer.seed, config.warm_steps
    if not can_warm_start(model, config):
        return None
    if isinstance(model.head, SegmentHead):
        return fit_pixel_part(model, model.head.pixel, data, seed, steps, config.perturb)
    if isinstance(model.head, ClassifyHead):
        fit_classifier(model, model.head, data, config.perturb.other_sensor)
    return None


def can_warm_start(model: TaskModel, config: FinetuneConfig) -> bool:
    """Tell whether a model's head is fitted before anything else trains."""
    return config.warm_steps > 0 and isinstance(model.head, SegmentHead | ClassifyHead) and not model.answer.several


def fit_pixel_part(
    model: TaskModel, part: PixelPart, data: TaskData, seed: int, steps: int, perturb: PerturbConfig | None = None
) -> PixelFit:
    """Fit a head's per-pixel networks on training pixels, chosen on validation pixels."""
    train = labelled_pixels(model, data, seed)
    val = labelled_pixels(model, data, seed, VAL, VAL_PIXELS) if len(data.indices_of(VAL)) else None
    hide = _hide(data.sensor, perturb)
    if val is not None and hide is not None:  # chosen on what is fitted: pixels that lack bands, and such that do not
        hidden = hide(val.planes, torch.Generator().manual_seed(seed))
        val = LabelledPixels(
            torch.cat([val.planes, hidden]),
            val.labels.repeat(2),
            None if val.blocks is None else np.tile(val.blocks, 2),
        )
    fresh, how = copy.deepcopy(part.state_dict()), (seed, steps, hide)
    if not few_labels(train, len(model.label_set)):
        return fit_pixels(part, train, val, *how)
    fit = fit_pixels(part, train, None, seed, min(steps, FIRST_STEPS), hide)
    return fit_taught(part, fresh, (train, val), training_ground(model, data, seed), fit, how)


def _hide(sensor: Sensor, perturb: PerturbConfig | None) -> Hide | None:
    """Return what takes bands away from pixels (0 is absent) as the config says, or None."""
    if not perturb or not (perturb.drop_band or perturb.other_sensor):
        return None
    slots = [sensor.slots.index(slot) for group in sensor.groups for slot in group.slots]

    def hide(planes: Tensor, generator: torch.Generator) -> Tensor:
        at = torch.rand((len(planes), 2 + len(sensor.slots)), generator=generator)
        lost = torch.from_numpy(lost_of(at.numpy(), sensor, perturb)[:, slots])
        return planes.masked_fill(lost.repeat(1, planes.shape[1] // lost.shape[1]), 0.0)

    return hide


@torch.no_grad()
def labelled_pixels(
    model: TaskModel, data: TaskData, seed: int, role: int = TRAIN, count: int = PIXELS
) -> LabelledPixels:
    """Return about ``count`` labelled pixels of a role, spread evenly over its samples."""
    rng = np.random.default_rng([seed, 11])
    planes, labels, blocks = [], [], []
    windows: Near = cast("Any", model.head).pixel.windows
    each = max(1, count // max(1, len(data.indices_of(role))))
    for sample in track(data.samples(role), "single pixels", total=len(data.indices_of(role))):
        known = np.flatnonzero(known_labels(sample.label))
        picks = rng.choice(known, min(each, len(known)), replace=False)
        groups = {gsd: torch.from_numpy(group.astype(np.int32))[None] for gsd, group in sample.groups.items()}
        seen = windows.planes(model.pixel_bands(groups), wide=True)[0].flatten(1)  # (F, H * W)
        planes.append(seen[:, torch.from_numpy(picks)].T)
        blocks.append(sample.blocks.ravel()[picks])
        picked, target = sample.label.ravel()[picks], model.target
        labels.append(torch.from_numpy(picked.astype(np.int64) if target is None else target.to_output(picked)))
    return LabelledPixels(torch.cat(planes), torch.cat(labels), np.concatenate(blocks))
