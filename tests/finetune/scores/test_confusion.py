import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from bandloom.block_scores import kappa, margins
from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.finetune.scores.confusion import (
    block_confusions,
    confusion_matrix,
    intervals,
    scores,
    top_confusions,
)

NAMES = ("water", "forest", "field", "town")


def labels(seed: int, count: int = 400, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, count, p=rng.dirichlet(np.ones(classes)))
    predicted = np.where(rng.random(count) < 0.6, truth, rng.integers(0, classes, count))
    return truth, predicted


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 300))
def test_every_score_equals_scikit_learns(seed, count):
    truth, predicted = labels(seed, count)
    found = scores(confusion_matrix(truth, predicted, 4), NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "overall": oracle.accuracy_score(truth, predicted),
            "balanced": oracle.balanced_accuracy_score(truth, predicted),
            "macro_f1": oracle.f1_score(truth, predicted, average="macro", zero_division=0),
            "mean_iou": oracle.jaccard_score(truth, predicted, average="macro", zero_division=0),
        }
        precision, recall, f1, support = oracle.precision_recall_fscore_support(
            truth, predicted, labels=range(4), zero_division=0
        )
        iou = oracle.jaccard_score(truth, predicted, labels=range(4), average=None, zero_division=0)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    for i, row in enumerate(found["classes"]):
        assert row["support"] == support[i]
        for name, value in (("precision", precision), ("recall", recall), ("f1", f1), ("iou", iou)):
            assert (row[name] or 0.0) == pytest.approx(value[i])


def test_kappa_equals_scikit_learns():
    truth, predicted = labels(3)
    assert kappa(confusion_matrix(truth, predicted, 4)) == pytest.approx(oracle.cohen_kappa_score(truth, predicted))


def test_ignored_labels_count_nowhere():
    truth, predicted = labels(1)
    padded = np.concatenate([truth, np.full(50, IGNORE_INDEX)])
    matrix = confusion_matrix(padded, np.concatenate([predicted, np.zeros(50, int)]), 4)
    assert (matrix == confusion_matrix(truth, predicted, 4)).all()


def test_a_class_that_never_occurs_has_no_scores_and_lowers_no_average():
    truth = np.array([0, 0, 1, 1])
    found = scores(confusion_matrix(truth, truth, 4), NAMES)
    assert found["macro_f1"] == found["overall"] == 1.0
    assert found["classes"][3]["f1"] is None


def test_an_empty_confusion_matrix_scores_nought_without_a_warning():
    assert scores(np.zeros((4, 4), np.int64), NAMES)["overall"] == 0.0


def test_block_confusions_add_up_to_the_whole():
    truth, predicted = labels(5)
    blocks = np.arange(400) // 40
    parts = block_confusions(truth, predicted, blocks, 4)
    assert len(parts) == 10
    assert (sum(parts.values()) == confusion_matrix(truth, predicted, 4)).all()


def test_the_interval_holds_the_score_and_narrows_with_more_blocks():
    truth, predicted = labels(7, 4000)
    blocks = np.arange(4000) // 40
    parts = list(block_confusions(truth, predicted, blocks, 4).values())
    whole = scores(sum(parts), NAMES)["overall"]
    low, high = intervals(parts)["overall"]
    assert low < whole < high
    few_low, few_high = intervals(parts[:10])["overall"]
    assert high - low < few_high - few_low


def test_one_block_gives_no_interval():
    assert intervals([np.eye(3)]) == {}


def test_top_confusions_name_the_commonest_mistake_first():
    matrix = np.array([[50, 2, 0, 0], [15, 40, 0, 0], [0, 0, 9, 1], [0, 0, 0, 5]])
    first, *_ = top_confusions(matrix, NAMES)
    assert first == {"truth": "forest", "taken_for": "water", "count": 15, "share": 15 / 55}
    assert len(top_confusions(matrix, NAMES)) == 3


def test_a_model_that_is_better_in_every_block_is_ahead_for_sure():
    truth, predicted = labels(9, 2000)
    worse = np.where(np.arange(2000) % 10 == 0, (truth + 1) % 4, predicted)
    blocks = np.arange(2000) // 50
    own, rival = (block_confusions(truth, each, blocks, 4) for each in (predicted, worse))
    for name, (low, high) in margins(own, rival).items():
        assert 0 < low < high, name
    assert margins(own, own)["overall"] == [0.0, 0.0]
    assert margins(own, {}) == {}
