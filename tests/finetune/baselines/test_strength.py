"""A baseline is as strong as validation labels like it best."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from bandloom.finetune.baselines.classic import Baseline, pixel_spectrum, run_baselines
from bandloom.finetune.baselines.classifiers import linear_svm, logistic, rbf_svm
from bandloom.finetune.baselines.strength import STRENGTHS, Rows, candidates, preferred
from bandloom.finetune.data.splits import VAL
from bandloom.finetune.tasks.segment import SEGMENT
from tests.finetune.baselines.test_classic import data


def rows(count: int, seed: int) -> Rows:
    """Two classes that one of forty features tells apart, a fifth of the labels wrong."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 40))
    truth = features[:, 0] > 0
    return features, (truth ^ (rng.random(count) < 0.2)).astype(np.int64)


@pytest.mark.parametrize("make", [logistic, linear_svm, rbf_svm])
def test_the_one_with_the_best_score_on_validation_is_kept(make):
    train, validation = rows(120, 0), rows(2_000, 1)
    fitted = [make(0, strength).fit(*train) for strength in STRENGTHS]
    by_strength = [f1_score(validation[1], one.predict(validation[0]), average="macro") for one in fitted]
    kept = preferred("linear", candidates(make), 0, train, validation)
    assert np.array_equal(kept.predict(validation[0]), fitted[int(np.argmax(by_strength))].predict(validation[0]))
    assert max(by_strength) > min(by_strength)


def test_a_tuned_baseline_is_chosen_on_validation_and_is_a_row_beside_the_one_that_stands():
    labelled = data()
    names = ["pixel_logistic", "pixel_logistic_tuned"]
    fixed, tuned = run_baselines(names, labelled, 0, SEGMENT.baselines)
    assert SEGMENT.baselines["pixel_logistic"].candidates == ()
    assert tuned.fitted_on == fixed.fitted_on
    assert tuned.scored_on == fixed.scored_on
    one = Baseline(pixel_spectrum, logistic, candidates=candidates(logistic, [1.0]))
    (same,) = run_baselines(["one"], labelled, 0, {"one": one})
    assert np.array_equal(same.confusion, fixed.confusion)


def test_without_validation_ground_a_baseline_is_fitted_as_it_stands():
    labelled = data()
    labelled.counts[:, VAL] = 0
    fixed, tuned = run_baselines(["pixel_logistic", "pixel_logistic_tuned"], labelled, 0, SEGMENT.baselines)
    assert np.array_equal(tuned.confusion, fixed.confusion)
