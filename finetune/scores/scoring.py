"""Runs a model over the labels of one role and counts confusions, block by block."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from bandloom.classes.label_set import known_labels
from bandloom.command_line.console import track
from bandloom.finetune.data.labelled import Labelled, TaskData
from bandloom.finetune.data.own_bands import cut
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.confusion import ConfusionRow, block_confusions
from bandloom.run_state.pulse import pulse

Groups = Mapping[int, np.ndarray]
Seen = Callable[[Groups], Groups]  # what a model is shown of a sample


@dataclass(frozen=True)
class Predicted:
    """One sample's labels and the model's logits, ``(K, H, W)``, or ``(K,)`` for a chip."""

    sample: Labelled
    logits: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The class indices of the largest logits."""
        return self.logits.argmax(0)


def predict_role(
    name: str, model: TaskModel, data: TaskData, role: int, batch_size: int = 16, seen: Seen | None = None
) -> Iterator[Predicted]:
    """Yield every sample that has labels of a role, with the model's logits, in the shards' order."""
    samples = data.samples(role)
    for sample in track(samples, f"scoring {name}", total=len(data.indices_of(role))):
        shown = sample if seen is None else replace(sample, groups=seen(sample.groups))
        yield Predicted(shown, predict_sample(model, shown.groups, shown.label, batch_size))


def score_model(
    name: str, model: TaskModel, data: TaskData, role: int, batch_size: int = 16, seen: Seen | None = None
) -> ConfusionRow:
    """Score a model on every label of a role.

    Args:
        name: of the row.
        model: its chips tile each sample; the last of a row is moved inwards to end at the sample's edge.
        data: labelled samples under a split.
        role: validation or test.
        batch_size: chips a forward pass.
        seen: what the model is shown of a sample; None: all of it.
    """
    start, classes = time.monotonic(), len(data.label_set)
    total: dict[int, np.ndarray] = {}
    for prediction in predict_role(name, model, data, role, batch_size, seen):
        for block, matrix in block_confusions(
            prediction.sample.label, prediction.predicted, prediction.sample.blocks, classes
        ).items():
            total[block] = total.get(block, 0) + matrix
    return ConfusionRow(name=name, confusions=total, seconds=time.monotonic() - start)


def predict_sample(model: TaskModel, groups: Groups, label: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """Return the logits of a sample: ``(K, H, W)``, or ``(K,)`` for a classifier.

    Args:
        model: a segmenter or classifier.
        groups: native groups ``{gsd_m: (C, H, W)}`` of any size.
        label: ``(H, W)``; chips without a known label are left out, their logits stay 0.
        batch_size: chips a forward pass.
    """
    side = model.chip_px
    if label.ndim < 2:
        return run(model, [cut(groups, 0, 0, side)], batch_size)[0]
    corners = [
        (y, x)
        for y in _starts(label.shape[0], side)
        for x in _starts(label.shape[1], side)
        if known_labels(label[y : y + side, x : x + side]).any()
    ]
    logits = np.zeros((len(model.label_set), *label.shape), np.float32)
    chips = run(model, [cut(groups, y, x, side) for y, x in corners], batch_size)
    for (y, x), chip in zip(corners, chips, strict=True):
        height, width = label[y : y + side, x : x + side].shape
        logits[:, y : y + side, x : x + side] = chip[:, :height, :width]
    return logits


def run(model: TaskModel, chips: list[dict[int, np.ndarray]], batch_size: int) -> np.ndarray:
    """Return the logits of chips ``{gsd_m: (C, H, W)}``, stacked, in evaluation mode and without gradients."""
    with evaluating(model), torch.no_grad():
        device = next(model.parameters()).device
        parts = []
        for start in range(0, len(chips), batch_size):
            pulse("scoring")
            batch = chips[start : start + batch_size]
            stacked = {gsd: torch.from_numpy(np.stack([c[gsd] for c in batch])).to(device) for gsd in batch[0]}
            parts.append(model(stacked).float().cpu().numpy())
    return np.concatenate(parts)


class evaluating:
    """Put a module in evaluation mode for a while, and back as it was."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._was = module, module.training

    def __enter__(self) -> None:
        self._module.eval()

    def __exit__(self, *_: object) -> None:
        self._module.train(self._was)


def _starts(length: int, side: int) -> Iterator[int]:
    """Yield where chips begin: side by side, the last moved inwards to the 60 m grid that ends at the edge."""
    yield from range(0, max(length - side, 0) + 1, side)
    if length > side and length % side:
        yield length - side
