"""Evaluation on one role of a split: scores by block, calibration, the worst examples, and a table of predictions."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.own_bands import cut
from bandloom.finetune.data.splits import TEST
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.calibration import Reliability, softmax
from bandloom.finetune.scores.confusion import ConfusionRow, block_confusions
from bandloom.finetune.scores.scoring import Predicted, predict_role

SAMPLED_LABELS = 100_000  # logits kept to fit a temperature on
WORST = 12
KEPT_PX = 700_000  # of the test samples that are kept whole, to be compared with another run's
FEWEST_KNOWN = 0.25  # share of a window that must be labelled to be shown


@dataclass(frozen=True)
class Example:
    """A place where the model did badly: its pixels, the truth, what was predicted, and the mean loss there."""

    key: str
    groups: Mapping[int, np.ndarray]
    label: np.ndarray
    predicted: np.ndarray
    confidence: float
    loss: float


@dataclass
class Evaluation:
    """What one pass leaves; ``before`` and ``after`` are the reliability without and with the temperature."""

    row: ConfusionRow
    temperature: float = 1.0
    before: Reliability = field(default_factory=Reliability.nothing)
    after: Reliability = field(default_factory=Reliability.nothing)
    logits: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # (N, K), a sample of them
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,)
    worst: list[Example] = field(default_factory=list)
    kept: list[Example] = field(default_factory=list)  # the same samples whatever the model: by a hash of their keys
    table: list[dict[str, Any]] = field(default_factory=list)

    def calibration(self) -> dict[str, Any]:
        """Return the calibration before and after scaling, as plain JSON types."""
        return {"temperature": self.temperature, "before": self.before.to_dict(), "after": self.after.to_dict()}


def evaluate(
    name: str,
    model: TaskModel,
    data: TaskData,
    role: int,
    *,
    batch_size: int = 16,
    temperature: float = 1.0,
) -> Evaluation:
    """Score a model on every label of a role and keep what a report shows.

    Args:
        name: of the row.
        model: its chips tile each sample.
        data: labelled samples under a split.
        role: validation or test.
        batch_size: chips a forward pass.
        temperature: divides the logits in ``after`` and in the table's probabilities.
    """
    start, names = time.monotonic(), data.label_set.names
    share = min(1.0, SAMPLED_LABELS / max(1, int(data.by_role[role])))
    rng = np.random.default_rng(0)
    total: dict[int, np.ndarray] = {}
    seen = Evaluation(ConfusionRow(name=name, confusions=total), temperature)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for prediction in predict_role(name, model, data, role, batch_size):
        for block, matrix in block_confusions(
            prediction.sample.label, prediction.predicted, prediction.sample.blocks, len(names)
        ).items():
            total[block] = total.get(block, 0) + matrix
        logits, labels = known_rows(prediction)
        seen.before += _reliability(logits, labels)
        seen.after += _reliability(logits / temperature, labels)
        picked = rng.random(len(labels)) < share
        kept.append((logits[picked], labels[picked]))
        seen.worst = sorted([*seen.worst, *_examples(prediction, model.chip_px)], key=lambda e: -e.loss)[:WORST]
        if role == TEST:
            seen.kept = _kept([*seen.kept, _whole(prediction)])
        seen.table += (
            _chip_row(prediction, names, temperature)
            if prediction.sample.label.ndim == 0
            else _block_rows(prediction, names)
        )
    if kept:
        seen.logits, seen.labels = (np.concatenate(column) for column in zip(*kept, strict=True))
    seen.row = replace(seen.row, seconds=time.monotonic() - start)
    return seen


def known_rows(each: Predicted) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits ``(N, K)`` and class indices ``(N,)`` of a sample's known labels."""
    known = each.sample.label != IGNORE_INDEX
    if each.sample.label.ndim == 0:
        return each.logits[None], each.sample.label[None].astype(np.int64)
    return each.logits[:, known].T, each.sample.label[known].astype(np.int64)


def _reliability(logits: np.ndarray, labels: np.ndarray) -> Reliability:
    probability = softmax(logits, 1)
    return Reliability.of(probability.max(1), probability.argmax(1) == labels)


def _examples(each: Predicted, side: int) -> list[Example]:
    """Return a sample's windows with their mean loss."""
    label = each.sample.label
    if label.ndim == 0:
        return [_example(each, each.sample.groups, label, each.logits[:, None, None], label[None, None])]
    examples = []
    for y in range(0, max(1, label.shape[0] - side + 1), side):
        for x in range(0, max(1, label.shape[1] - side + 1), side):
            part, logits = label[y : y + side, x : x + side], each.logits[:, y : y + side, x : x + side]
            if (part != IGNORE_INDEX).mean() >= FEWEST_KNOWN:
                examples.append(_example(each, cut(each.sample.groups, y, x, side), part, logits, part))
    return examples


def _whole(each: Predicted) -> Example:
    """Return a sample with the class of every pixel, or of the chip."""
    predicted = each.logits.argmax(0).astype(np.uint8)
    return Example(each.sample.key, each.sample.groups, each.sample.label, predicted, confidence=0.0, loss=0.0)


def _kept(samples: list[Example]) -> list[Example]:
    """Return those whose keys have the smallest checksums, as many as :data:`KEPT_PX` pixels hold; one at least."""
    order = sorted(samples, key=lambda sample: (crc32(sample.key.encode()), sample.key))
    pixels = np.cumsum([max(group[0].size for group in sample.groups.values()) for sample in order])
    return order[: max(1, int((pixels <= KEPT_PX).sum()))]


def _example(
    each: Predicted, groups: Mapping[int, np.ndarray], label: np.ndarray, logits: np.ndarray, truth: np.ndarray
) -> Example:
    known = truth != IGNORE_INDEX
    probability = softmax(logits)
    of_truth = np.take_along_axis(probability, np.where(known, truth, 0)[None].astype(np.int64), 0)[0][known]
    predicted = logits.argmax(0).astype(np.uint8).reshape(label.shape)
    confidence, loss = probability.max(0)[known].mean(), -np.log(np.maximum(of_truth, 1e-9)).mean()
    return Example(each.sample.key, groups, label, predicted, float(confidence), float(loss))


def _chip_row(each: Predicted, names: tuple[str, ...], temperature: float) -> list[dict[str, Any]]:
    probability = softmax(each.logits / temperature)
    truth, predicted = int(each.sample.label), int(probability.argmax())
    shown = {f"p {name}": float(value) for name, value in zip(names, probability, strict=True)}
    return [
        {
            "key": each.sample.key,
            "block": f"{int(each.sample.blocks):016x}",
            "truth": names[truth],
            "predicted": names[predicted],
            "correct": truth == predicted,
            **shown,
        }
    ]


def _block_rows(each: Predicted, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return a row for each block in a sample: pixels by true and by predicted class."""
    rows = []
    matrices = block_confusions(each.sample.label, each.predicted, each.sample.blocks, len(names))
    for block, matrix in matrices.items():
        true = {f"true {name}": int(count) for name, count in zip(names, matrix.sum(1), strict=True)}
        predicted = {f"predicted {name}": int(count) for name, count in zip(names, matrix.sum(0), strict=True)}
        rows.append(
            {
                "key": each.sample.key,
                "block": f"{block:016x}",
                "labels": int(matrix.sum()),
                "correct": int(np.trace(matrix)),
                **true,
                **predicted,
            }
        )
    return rows
