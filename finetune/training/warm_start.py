"""LP-FT: fits the head alone before the encoder is fine-tuned (Kumar et al. 2022, 2202.10054).

This is LP-FT (Kumar et al. 2022, arXiv 2202.10054). A classifier's head is a ridge regression on pooled features. Of a
segmenter's head the pixel's part is fitted, on shuffled pixels: chips hold thousands that resemble each other, so a
network fed with chips learns spectra slowly; shuffled pixels teach them at once.
"""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bandloom.console import track
from bandloom.finetune.config import FinetuneConfig, PerturbConfig
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TRAIN, VAL
from bandloom.finetune.model.heads import ClassifyHead, SegmentHead
from bandloom.finetune.model.near import Near
from bandloom.finetune.model.pixel_part import PixelPart
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.training.fit_pixels import Hide, PixelFit, fit_pixels
from bandloom.finetune.training.perturb import lost_of
from bandloom.finetune.training.pixel_network import LabelledPixels
from bandloom.label_set import known_labels
from bandloom.probes import fit_ridge
from bandloom.sensors import Sensor

PIXELS, VAL_PIXELS = 60_000, 20_000
CHIPS = 1_000
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0)  # of one-hot regression to logits; the least cross entropy on training chips wins


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
    if steps and isinstance(model.head, SegmentHead):
        return fit_pixel_part(model, model.head.pixel, data, seed, steps, config.perturb)
    if steps and isinstance(model.head, ClassifyHead) and not model.answer.several:
        fit_classifier(model, model.head, data)
    return None


@torch.no_grad()
def fit_classifier(model: TaskModel, head: ClassifyHead, data: TaskData) -> None:
    """Set the head's last layer to a ridge regression on pooled features of at most :data:`CHIPS` training chips."""
    was_training = model.training
    model.eval()
    features, labels = [], []
    chips = data.some(TRAIN, CHIPS)
    for found in track(chips.samples(TRAIN), "chips of the first head", total=len(chips.indices)):
        groups = {gsd: torch.from_numpy(group.astype(np.int32))[None] for gsd, group in found.groups.items()}
        features.append(head.pool(model.chip_tokens(groups))[0])
        labels.append(found.label)
    model.train(was_training)
    rows, known = torch.stack(features).double().numpy(), np.array(labels)
    mean, std = rows.mean(0), rows.std(0) + 1e-6
    weights = _ridge((rows - mean) / std, known, model)
    slope = weights[:-1] / std[:, None]  # (D, K)
    scale = 1.0
    if model.target is None:
        logits, classes = (
            torch.from_numpy(rows @ slope + weights[-1] - mean @ slope),
            torch.from_numpy(known.astype(int)),
        )
        scale = min(SCALES, key=lambda scale: float(functional.cross_entropy(scale * logits, classes)))
    head.classify.weight.copy_(torch.from_numpy(scale * slope.T))
    head.classify.bias.copy_(torch.from_numpy(scale * (weights[-1] - mean @ slope)))


def _ridge(rows: np.ndarray, known: np.ndarray, model: TaskModel) -> np.ndarray:
    """Return weights ``(D + 1, K)`` of a ridge regression on one-hot classes, or on normalised values."""
    if model.target is None:
        return fit_ridge(rows, known.astype(int), len(model.label_set))
    from sklearn.linear_model import RidgeCV

    fitted: Any = RidgeCV(np.logspace(-2, 5, 15)).fit(rows, model.target.to_output(known))
    return np.append(np.ravel(fitted.coef_), fitted.intercept_)[:, None]


def fit_pixel_part(
    model: TaskModel, part: PixelPart, data: TaskData, seed: int, steps: int, perturb: PerturbConfig | None = None
) -> PixelFit:
    """Fit a head's per-pixel networks on training pixels, chosen on validation pixels."""
    train = labelled_pixels(model, data, seed)
    val = labelled_pixels(model, data, seed, VAL, VAL_PIXELS) if len(data.indices_of(VAL)) else None
    hide = _hide(data.sensor, perturb)
    if val is not None and hide is not None:  # chosen on what is fitted: pixels that lack bands, and such that do not
        hidden = hide(val.planes, torch.Generator().manual_seed(seed))
        val = LabelledPixels(torch.cat([val.planes, hidden]), val.labels.repeat(2))
    return fit_pixels(part, train, val, seed, steps, hide)


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
    planes, labels = [], []
    windows: Near = cast("Any", model.head).pixel.windows
    each = max(1, count // max(1, len(data.indices_of(role))))
    for sample in track(data.samples(role), "single pixels", total=len(data.indices_of(role))):
        known = np.flatnonzero(known_labels(sample.label))
        picks = rng.choice(known, min(each, len(known)), replace=False)
        groups = {gsd: torch.from_numpy(group.astype(np.int32))[None] for gsd, group in sample.groups.items()}
        seen = windows.planes(model.pixel_bands(groups))[0].flatten(1)  # (F, H * W)
        planes.append(seen[:, torch.from_numpy(picks)].T)
        picked, target = sample.label.ravel()[picks], model.target
        labels.append(torch.from_numpy(picked.astype(np.int64) if target is None else target.to_output(picked)))
    return LabelledPixels(torch.cat(planes), torch.cat(labels))
