"""Scores of a model on coarser label sets, such as CORINE's levels: probabilities summed over a class's members."""

import time
from collections.abc import Iterator

import numpy as np

from bandloom.classes.label_mapping import Mapping, get_mapping
from bandloom.errors import ConfigError, LabelError
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.scores.calibration import softmax
from bandloom.finetune.scores.confusion import ConfusionRow, block_confusions
from bandloom.finetune.scores.scoring import predict_role

SUMMED, LIKELIEST = "summed probabilities", "class of the likeliest"


def level_mappings(model: TaskModel, levels: tuple[str, ...]) -> list[Mapping]:
    """Return the mappings from a model's classes to coarser label sets.

    Args:
        model: of one class a pixel or a chip.
        levels: names of shipped label sets.

    Raises:
        ConfigError: the model's task has no single class to sum to.
        LabelError: no mapping leads there, or the model's classes are not those of the label set that they are named
            after.
    """
    answer = model.answer
    if levels and (answer.several or answer.continuous or answer.dates > 1):
        raise ConfigError(f"--level is for one class a pixel or a chip; the model answers task {answer.task}.")
    mappings = [get_mapping(model.label_set.name, level) for level in levels]
    for mapping in mappings:
        if mapping.source.label_set.names != model.label_set.names:
            raise LabelError(
                f"the model's label set {model.label_set.name!r} has other classes than the shipped one of that name;"
                " --level needs those."
            )
    return mappings


def level_rows(
    model: TaskModel, data: TaskData, role: int, mappings: list[Mapping], batch_size: int = 16
) -> Iterator[tuple[Mapping, ConfusionRow]]:
    """Yield two rows a level: by summed probabilities, and by translating the likeliest fine class.

    Args:
        model: calibrated; its temperature divides the logits.
        data: labels of the fine classes; those without a counterpart are left out of a level's rows.
        role: validation or test.
        mappings: from :func:`level_mappings`.
        batch_size: chips a forward pass.
    """
    start = time.monotonic()
    counts: list[tuple[dict[int, np.ndarray], dict[int, np.ndarray]]] = [({}, {}) for _ in mappings]
    for prediction in predict_role("levels", model, data, role, batch_size):
        probability = np.moveaxis(softmax(prediction.logits / model.temperature), 0, -1)  # (..., K)
        for mapping, (summed, likeliest) in zip(mappings, counts, strict=True):
            truth = np.asarray(mapping.labels(prediction.sample.label)[0])
            translated = np.asarray(mapping.labels(probability.argmax(-1))[0])
            pairs = ((summed, mapping.probabilities(probability).argmax(-1)), (likeliest, translated))
            for total, predicted in pairs:
                _count(total, truth, predicted, prediction.sample.blocks, len(mapping.target.classes))
    seconds = time.monotonic() - start
    for mapping, (summed, likeliest) in zip(mappings, counts, strict=True):
        for how, total in ((SUMMED, summed), (LIKELIEST, likeliest)):
            yield mapping, ConfusionRow(name=f"{mapping.target.id}: {how}", confusions=total, seconds=seconds)


def _count(
    total: dict[int, np.ndarray], truth: np.ndarray, predicted: np.ndarray, blocks: np.ndarray, classes: int
) -> None:
    """Add a sample's confusions by block; what is translated to no class is wrong wherever the truth is known."""
    lost = predicted >= classes
    if lost.any():  # counted as the first class that is not the truth
        predicted = np.where(lost, np.where(truth == 0, 1, 0), predicted)
    for block, matrix in block_confusions(truth, predicted, blocks, classes).items():
        total[block] = total.get(block, 0) + matrix
