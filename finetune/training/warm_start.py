"""LP-FT: fits the head alone before the encoder is fine-tuned (Kumar et al. 2022, 2202.10054).

This is LP-FT (Kumar et al. 2022, arXiv 2202.10054). A classifier's head is a ridge regression on pooled features. Of a
segmenter's head the pixel's part is fitted, on shuffled pixels: chips hold thousands that resemble each other, so a
network fed with chips learns spectra slowly; shuffled pixels teach them at once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.console import track
from bandloom.finetune.config import FinetuneConfig, PerturbConfig
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.model.heads import ClassifyHead, SegmentHead
from bandloom.finetune.model.pixel_part import PLANES, Near, PixelPart
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.training.perturb import lost_of
from bandloom.label_set import known_labels
from bandloom.probes import fit_ridge
from bandloom.sensors import Sensor
from bandloom.training.schedule import warm_cosine

PIXELS, BATCH = 60_000, 4096
VALUES_LR, CODED_LR, NEAR_LR = 3e-2, 1e-2, 1e-2  # peaks; as steps and dropout, chosen on training ground
DROP = 0.3  # of the coded and the near network while they are fitted
PIXELS_OF_QUANTILES = 20_000
CHIPS = 1_000
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0)  # of one-hot regression to logits; the least cross entropy on training chips wins


def warm_start(model: TaskModel, data: TaskData, config: FinetuneConfig) -> None:
    """Fit the head on the training role alone.

    Args:
        model: a segmenter or a classifier; others are left as they are.
        data: its labels.
        config: ``trainer.seed`` draws the pixels and their order, the same on every rank; ``perturb`` takes bands away
            from pixels as from chips; ``warm_steps`` of :data:`BATCH` pixels for a segmenter; 0 leaves heads as drawn.
    """
    seed, steps = config.trainer.seed, config.warm_steps
    if steps and isinstance(model.head, SegmentHead):
        fit_pixels(model, model.head.pixel, data, seed, steps, config.perturb)
    elif steps and isinstance(model.head, ClassifyHead) and not model.answer.several:
        fit_classifier(model, model.head, data)


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


def fit_pixels(
    model: TaskModel, part: PixelPart, data: TaskData, seed: int, steps: int, perturb: PerturbConfig | None = None
) -> float:
    """Fit the three networks of a segmenter's head on shuffled training pixels; returns the first one's last loss."""
    planes, labels = training_pixels(model, data, seed)
    bands = planes[:, : planes.shape[1] // PLANES]
    part.code.fit(bands[:: max(1, len(bands) // PIXELS_OF_QUANTILES)])
    part.windows.fit(planes)

    def fit(layers: nn.Module, inputs: Tensor, steps: int, peak_lr: float) -> float:
        return _fit(layers, _Pixels(inputs, labels, data.sensor, perturb), seed, steps, peak_lr)

    with torch.random.fork_rng(devices=[]):  # what dropout draws does not shift what is drawn later
        torch.manual_seed(seed)
        fit(nn.Sequential(part.code, *_dropping(part.coded)), bands, (steps + 1) // 2, CODED_LR)
        fit(nn.Sequential(part.windows, *_dropping(part.near)), planes, steps, NEAR_LR)
    return fit(part.values, bands, steps, VALUES_LR)


@dataclass(frozen=True)
class _Pixels:
    """Planes ``(N, F)`` of pixels, in each the bands as the sensor's groups have them, and their labels ``(N,)``."""

    inputs: Tensor
    labels: Tensor
    sensor: Sensor
    perturb: PerturbConfig | None

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a batch ``(B, F)``, bands taken away (0 is absent) as the config says, and its classes."""
        picks = torch.randint(len(self.labels), (min(BATCH, len(self.labels)),), generator=generator)
        inputs = self.inputs[picks]
        if self.perturb and (self.perturb.drop_band or self.perturb.other_sensor):
            at = torch.rand((len(picks), 2 + len(self.sensor.slots)), generator=generator)
            slots = [self.sensor.slots.index(slot) for group in self.sensor.groups for slot in group.slots]
            lost = torch.from_numpy(lost_of(at.numpy(), self.sensor, self.perturb)[:, slots])
            inputs = inputs.masked_fill(lost.repeat(1, inputs.shape[1] // lost.shape[1]), 0.0)
        return inputs, self.labels[picks]


def _dropping(network: nn.Sequential) -> list[nn.Module]:
    first, bend, second, bend_again, last = network
    return [first, bend, nn.Dropout(DROP), second, bend_again, nn.Dropout(DROP), last]


def _fit(layers: nn.Module, pixels: _Pixels, seed: int, steps: int, peak_lr: float) -> float:
    optimizer = torch.optim.AdamW(layers.parameters(), lr=peak_lr, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(seed)
    loss = torch.zeros(())
    for step in track(range(steps), "single pixels first"):
        for group in optimizer.param_groups:
            group["lr"] = warm_cosine(step, steps, 20, peak_lr)
        inputs, labels = pixels.draw(generator)
        logits = layers(inputs.T[None, :, None])  # (1, K, 1, N)
        loss = _pixel_loss(logits[0, :, 0].T, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def _pixel_loss(output: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of outputs ``(N, K)``: cross entropy of class indices, squared error of normalised values."""
    if labels.is_floating_point():
        return functional.mse_loss(output[:, 0], labels)
    return functional.cross_entropy(output, labels)


@torch.no_grad()
def training_pixels(model: TaskModel, data: TaskData, seed: int) -> tuple[Tensor, Tensor]:
    """Return training pixels: planes ``(N, F)`` of ``Near.planes``, class indices or normalised values ``(N,)``."""
    rng = np.random.default_rng([seed, 11])
    planes, labels = [], []
    each = max(1, PIXELS // max(1, len(data.indices_of(TRAIN))))
    for found in track(data.samples(TRAIN), "single pixels", total=len(data.indices_of(TRAIN))):
        known = np.flatnonzero(known_labels(found.label))
        picks = rng.choice(known, min(each, len(known)), replace=False)
        groups = {gsd: torch.from_numpy(group.astype(np.int32))[None] for gsd, group in found.groups.items()}
        seen = Near.planes(model.pixel_bands(groups))[0].flatten(1)  # (F, H * W)
        planes.append(seen[:, torch.from_numpy(picks)].T)
        picked, target = found.label.ravel()[picks], model.target
        labels.append(torch.from_numpy(picked.astype(np.int64) if target is None else target.to_output(picked)))
    return torch.cat(planes), torch.cat(labels)
