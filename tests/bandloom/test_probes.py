"""Probes predict what the classifiers in numpy do, on a card too; useless features score at chance."""

import numpy as np
import pytest
import torch

from bandloom import closed_form
from bandloom.probes import nearest_neighbours, probe, ridge
from tests.bandloom.test_closed_form import blobs
from tests.card.pretend_card import CARD, TORCH, pretended_card


@pytest.mark.parametrize(("count", "more"), [(300, 0), (21, 0), (20, 0), (15, 0), (4, 0), (2, 0), (40, 100)], ids=str)
def test_ridge_predicts_what_the_one_in_numpy_predicts(count, more):
    train, labels = blobs(count, 1.5)
    test, _ = blobs(400, 1.5, seed=1)
    noise = np.random.default_rng(2)
    train, test = (np.concatenate([rows, noise.normal(size=(len(rows), more))], 1) for rows in (train, test))
    np.testing.assert_array_equal(ridge(train, labels, test, 4), closed_form.ridge(train, labels, test, 4))


def test_neighbours_predict_what_those_in_numpy_predict():
    train, labels = blobs(300, 1.0)
    test, _ = blobs(5000, 1.0, seed=1)  # more than are compared at once
    for k in (1, 10, 400):
        given = nearest_neighbours(train, labels, test, 4, k)
        np.testing.assert_array_equal(given, closed_form.nearest_neighbours(train, labels, test, 4, min(k, 300)))


def test_useless_features_score_at_chance_and_good_ones_do_not():
    train, labels = blobs(400, 0.0)
    test, wanted = blobs(2000, 0.0, seed=1)
    assert abs(probe(train, labels, test, wanted, 4).ridge - 0.25) < 0.05
    train, labels = blobs(400, 6.0)
    test, wanted = blobs(2000, 6.0, seed=1)
    scores = probe(train, labels, test, wanted, 4)
    assert min(scores.ridge, scores.knn) > 0.97


@pytest.mark.skipif(not torch.__version__.startswith(TORCH), reason=f"pretended for torch {TORCH} alone")
@pytest.mark.parametrize("count", [300, 15])
def test_scores_on_a_card_are_the_cpus(count):
    train, test = blobs(count, 1.0), blobs(400, 1.0, seed=1)
    expected = probe(*train, *test, 4)
    with pretended_card() as watch:
        assert probe(*train, *test, 4, CARD) == expected
    assert watch.notes  # it was on the card
