"""What a classifier of the benchmark is given: features and labels by role, and how its answers are scored."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from bandloom.block_scores import HEADLINE
from bandloom.finetune.baselines.classic import Table
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.splits import TEST, VAL
from bandloom.finetune.scores.confusion import ConfusionRow, block_confusions, confusion_matrix
from bandloom.finetune.scores.multilabel import MultilabelRow, tune_thresholds
from bandloom.finetune.scores.row import Row
from bandloom.several_scores import weighted_average_precision


@dataclass(frozen=True)
class Given:
    """Features of one source on one set.

    Args:
        tables: by role.
        classes: K.
        several: whether a chip may have any number of classes.
        score: by which C is chosen and the row is reported.
        strengths: values of C to choose from.
        device: where regressions are fitted.
    """

    tables: Mapping[int, Table]
    classes: int
    several: bool
    score: str
    strengths: tuple[float, ...]
    device: torch.device

    def targets(self, role: int) -> np.ndarray:
        """Return ``(N, K)`` of noughts and ones."""
        labels = self.tables[role].labels
        return labels.astype(float) if self.several else np.eye(self.classes)[labels]

    def judge(self, scores: np.ndarray) -> float:
        """Return how good scores ``(M, K)`` of the validation rows are."""
        labels = self.tables[VAL].labels
        if self.several:
            return float(weighted_average_precision(labels.ravel(), scores.ravel(), np.ones((1, labels.size)))[0])
        return float(HEADLINE[self.score](confusion_matrix(labels, scores.argmax(1), self.classes)))

    def row(self, scores: np.ndarray, held: np.ndarray | None, fitted_on: int) -> Row:
        """Return the row of scores ``(M, K)`` of the test rows.

        Args:
            scores: anything that grows with probability.
            held: those of the validation rows, on which thresholds of several classes are tuned.
            fitted_on: labels that it was fitted on.
        """
        test = self.tables[TEST]
        if not self.several:
            confusions = block_confusions(test.labels, scores.argmax(1), test.blocks, self.classes)
            return ConfusionRow(name="", confusions=confusions, fitted_on=fitted_on)
        return MultilabelRow(
            name="",
            truth=test.labels.astype(np.uint8),
            score=scores,
            block_of=test.blocks,
            thresholds=np.full(self.classes, 0.5) if held is None else tune_thresholds(self.tables[VAL].labels, held),
            fitted_on=fitted_on,
        )


def given(
    tables: Mapping[int, Table], data: TaskData, score: str, strengths: tuple[float, ...], device: torch.device
) -> Given:
    """Return what classifiers are given, absent bands filled by the mean of the training rows."""
    mean = np.nan_to_num(_mean(tables[0].features))
    filled = {
        role: Table(np.where(np.isnan(table.features), mean, table.features), table.labels, table.blocks)
        for role, table in tables.items()
    }
    return Given(filled, len(data.label_set), data.answer.several, score, strengths, device)


def _mean(features: np.ndarray) -> np.ndarray:
    known = np.isfinite(features)
    return np.where(known, features, 0.0).sum(0) / np.maximum(known.sum(0), 1)
