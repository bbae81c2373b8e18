"""Scores of chips with several classes, against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from bandloom.finetune.scores.multilabel import MultilabelRow, multilabel_scores, tune_thresholds
from bandloom.several_scores import HEADLINES
from tests.finetune.models import LABELS

NAMES = LABELS.names


def row(seed: int = 0, count: int = 200) -> MultilabelRow:
    rng = np.random.default_rng(seed)
    truth = (rng.random((count, 3)) < (0.1, 0.5, 0.3)).astype(np.uint8)
    score = np.round(0.5 * truth + rng.random((count, 3)) * 0.8, 2)  # rounded: ties occur
    return MultilabelRow(
        name="r",
        truth=truth,
        score=score,
        block_of=rng.integers(0, 20, count),
        thresholds=np.array([0.4, 0.6, 0.5]),
        fitted_on=count,
    )


def test_every_score_equals_scikit_learns():
    given = row()
    found = multilabel_scores(given, NAMES)
    predicted = given.score >= given.thresholds
    assert found["map_macro"] == pytest.approx(
        oracle.average_precision_score(given.truth, given.score, average="macro")
    )
    assert found["map_micro"] == pytest.approx(
        oracle.average_precision_score(given.truth, given.score, average="micro")
    )
    assert found["f1_macro"] == pytest.approx(oracle.f1_score(given.truth, predicted, average="macro"))
    assert found["f1_micro"] == pytest.approx(oracle.f1_score(given.truth, predicted, average="micro"))
    precision, recall, f1, support = oracle.precision_recall_fscore_support(given.truth, predicted, zero_division=0)
    for k, land_class in enumerate(found["classes"]):
        assert (land_class["precision"], land_class["recall"], land_class["f1"]) == pytest.approx(
            (precision[k], recall[k], f1[k])
        )
        assert land_class["support"] == support[k]


def test_the_tuned_threshold_has_the_best_f1_of_all_thresholds():
    given = row(3)
    tuned = tune_thresholds(given.truth, given.score)
    for k in range(3):
        truth, score = given.truth[:, k], given.score[:, k]
        best = max(oracle.f1_score(truth, score >= t) for t in np.unique(score))
        assert oracle.f1_score(truth, score >= tuned[k]) == pytest.approx(best)


def test_a_class_that_never_occurs_keeps_half_and_lowers_no_average():
    given = row()
    given.truth[:, 0] = 0
    assert tune_thresholds(given.truth, given.score)[0] == 0.5
    found = multilabel_scores(given, NAMES)
    assert found["classes"][0]["average_precision"] is None
    assert found["map_macro"] == pytest.approx(
        np.mean([oracle.average_precision_score(given.truth[:, k], given.score[:, k]) for k in (1, 2)])
    )


def test_the_interval_holds_the_score_and_the_margin_over_itself_is_nought():
    given = row()
    scores = multilabel_scores(given, NAMES)
    for name, (low, high) in given.intervals(50).items():
        assert low <= scores[name] <= high
    assert given.margins(row(), 50) == {name: [0.0, 0.0] for name in HEADLINES}
