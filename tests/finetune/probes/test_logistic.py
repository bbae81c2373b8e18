"""The sweep of logistic regressions against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from bandloom.finetune.probes.logistic import fit_logistic, swept_logistic


def blobs(count: int, seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    return rng.normal(size=(count, 6)) + 1.2 * np.eye(6)[labels], labels


@pytest.mark.parametrize("strength", [1e-3, 1.0, 100.0])
def test_probabilities_of_one_class_are_scikit_learns(strength):
    (rows, labels), (other, _) = blobs(120, 0), blobs(40, 1)
    theirs = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(rows, labels)
    ours = fit_logistic(rows, np.eye(3)[labels], strength)
    np.testing.assert_allclose(ours.scores(other), theirs.predict_proba(other), atol=2e-4)


def test_probabilities_of_several_classes_are_those_of_a_regression_a_class():
    (rows, labels), (other, _) = blobs(120, 0), blobs(40, 1)
    targets = np.stack([labels == 0, labels > 0, rows[:, 5] > 0], 1).astype(float)
    ours = fit_logistic(rows, targets, 0.1, several=True).scores(other)
    for column in range(3):
        theirs = LogisticRegression(C=0.1, max_iter=5000, tol=1e-8).fit(rows, targets[:, column])
        np.testing.assert_allclose(ours[:, column], theirs.predict_proba(other)[:, 1], atol=2e-4)


def test_the_sweep_takes_the_c_that_is_best_on_validation_labels_and_fits_it_again_on_both():
    train, val, test = blobs(60, 0), blobs(60, 1), blobs(60, 2)
    strengths = (1e-4, 1e-2, 1.0, 100.0)

    def theirs(strength: float, rows: np.ndarray, labels: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(rows, labels)

    expected = [accuracy_score(val[1], theirs(c, *train).predict(val[0])) for c in strengths]
    swept = swept_logistic(
        (train[0], np.eye(3)[train[1]]),
        (val[0], np.eye(3)[val[1]]),
        lambda scores: accuracy_score(val[1], scores.argmax(1)),
        strengths=strengths,
    )
    assert swept.judged == pytest.approx(expected)
    assert swept.strength == strengths[int(np.argmax(expected))]
    both = theirs(swept.strength, np.concatenate([train[0], val[0]]), np.concatenate([train[1], val[1]]))
    np.testing.assert_allclose(swept.model.scores(test[0]), both.predict_proba(test[0]), atol=2e-4)


def test_a_class_without_training_rows_is_never_said_and_one_in_all_rows_always():
    rows, labels = blobs(50, 0)
    one = fit_logistic(rows, np.eye(5)[labels], 1.0).scores(rows)
    assert (one[:, 3:] == 0).all()
    np.testing.assert_allclose(one.sum(1), 1)
    targets = np.stack([labels == 0, np.ones(50, bool), np.zeros(50, bool)], 1).astype(float)
    several = fit_logistic(rows, targets, 1.0, several=True).scores(rows)
    assert (several[:, 1] == 1).all()
    assert (several[:, 2] == 0).all()
