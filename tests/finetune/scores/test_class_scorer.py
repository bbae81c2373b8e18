"""What a step of training is kept by: how likely validation labels are, unless macro-F1 falls behind the start."""

import numpy as np
import pytest
from scipy.special import log_softmax

from bandloom.finetune.scores.class_scorer import ClassScorer, fell_behind
from bandloom.finetune.scores.confusion import ConfusionRow, confusion_matrix
from bandloom.finetune.scores.evaluation import Evaluation

BLOCKS = 8


def look(wrong: dict[int, int], sure: float = 2.0, blocks: int = BLOCKS) -> Evaluation:
    """Return a look at 20 labels of two classes a block; in some blocks so many of the first class are missed."""
    labels = np.tile([0, 1], 10 * blocks)
    predicted, block = labels.copy(), np.repeat(np.arange(blocks), 20)
    for place, count in wrong.items():
        predicted[np.flatnonzero((block == place) & (labels == 0))[:count]] = 1
    logits = np.where(np.arange(2) == predicted[:, None], sure, 0.0)
    matrices = {b: confusion_matrix(labels[block == b], predicted[block == b], 2) for b in range(blocks)}
    return Evaluation(ConfusionRow(name="m", confusions=matrices), logits=logits, labels=labels)


def test_a_step_is_kept_by_its_likelihood_at_the_best_of_many_temperatures():
    step = look({0: 5, 3: 2})
    rows = np.arange(len(step.labels))
    best = max(log_softmax(step.logits / t, axis=1)[rows, step.labels].mean() for t in np.geomspace(0.05, 20, 4000))
    assert ClassScorer().kept_by(step, step.row) == pytest.approx(best, abs=1e-5)


def test_a_step_that_loses_in_every_block_is_not_kept_and_one_that_gains_is():
    start, worse = look(dict.fromkeys(range(BLOCKS), 2)), look(dict.fromkeys(range(BLOCKS), 4))
    assert fell_behind(worse.row, start.row)
    assert ClassScorer().kept_by(worse, start.row) is None
    assert not fell_behind(start.row, worse.row)
    assert ClassScorer().kept_by(start, worse.row) is not None


def test_a_fall_within_the_error_of_blocks_is_no_fall():
    start, other = look({0: 3, 1: 3}), look({2: 4, 3: 3})
    assert other.row.scores(("a", "b"))["macro_f1"] < start.row.scores(("a", "b"))["macro_f1"]
    assert not fell_behind(other.row, start.row)


@pytest.mark.parametrize(("misses", "behind"), [(2, False), (3, True), (1, False)])
def test_within_one_block_any_fall_counts(misses, behind):
    assert fell_behind(look({0: misses}, blocks=1).row, look({0: 2}, blocks=1).row) is behind


def test_without_validation_labels_nothing_is_kept_by_them():
    empty = Evaluation(ConfusionRow(name="m", confusions={}))
    assert ClassScorer().kept_by(empty, empty.row) is None
