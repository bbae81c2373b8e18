"""Classifiers in closed form against scikit-learn."""

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from bandloom.closed_form import nearest_neighbours, neighbour_votes, ridge


def blobs(count: int, separation: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    return rng.normal(size=(count, 20)) + separation * np.eye(20)[labels], labels


def test_ridge_predicts_what_scikit_learn_predicts() -> None:
    train, labels = blobs(200, 2.0)
    test, _ = blobs(300, 2.0, seed=1)
    theirs = Ridge(alpha=10.0).fit(train, np.eye(4)[labels] - 0.25)
    agreement = (ridge(train, labels, test, 4, penalties=[10.0]) == theirs.predict(test).argmax(1)).mean()
    assert agreement > 0.99  # ours penalises the intercept, theirs does not


def test_the_dual_form_gives_the_primal_answer() -> None:
    train, labels = blobs(22, 3.0)
    test, _ = blobs(300, 3.0, seed=1)
    wide = np.concatenate([train, np.zeros((22, 10))], axis=1)
    padded = np.concatenate([test, np.zeros((300, 10))], axis=1)
    assert (ridge(train, labels, test, 4, [10.0]) == ridge(wide, labels, padded, 4, [10.0])).all()


def test_neighbours_predict_what_scikit_learn_predicts() -> None:
    train, labels = blobs(200, 3.0)
    test, _ = blobs(300, 3.0, seed=1)
    theirs = KNeighborsClassifier(10, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.1)).fit(train, labels)
    assert (nearest_neighbours(train, labels, test, 4) == theirs.predict(test)).all()


def test_unweighted_votes_are_scikit_learns_shares_of_the_nearest_by_distance() -> None:
    train, labels = blobs(200, 2.0)
    test, _ = blobs(100, 2.0, seed=1)
    theirs = KNeighborsClassifier(5).fit(train + 50, labels)  # far from 0, where distances lose digits
    votes = neighbour_votes(train + 50, np.eye(4)[labels], test + 50, 5)
    np.testing.assert_allclose(votes, theirs.predict_proba(test + 50))


def test_votes_of_several_classes_a_row_are_the_shares_of_neighbours_that_show_each() -> None:
    train, labels = blobs(60, 2.0)
    test, _ = blobs(20, 2.0, seed=1)
    targets = np.stack([labels > 0, labels > 1, train[:, 5] > 0], axis=1).astype(float)
    votes = neighbour_votes(train, targets, test, 7)
    for row, vote in zip(test, votes, strict=True):
        nearest = np.argsort(((train - row) ** 2).sum(1))[:7]
        np.testing.assert_allclose(vote, targets[nearest].mean(0))
