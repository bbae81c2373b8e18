import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bandloom.finetune.baselines.classifiers import logistic
from bandloom.finetune.baselines.several import base_rates, one_by_one


def table(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(200, 4))
    truth = np.stack([features[:, 0] > 0, features[:, 1] > 1, np.zeros(200), np.ones(200)], 1).astype(np.uint8)
    return features, truth


def test_base_rates_say_of_every_chip_how_common_a_class_was():
    features, truth = table()
    said = base_rates(features, truth, 0)(features[:3])
    assert said.tolist() == [truth.mean(0).tolist()] * 3


def test_a_class_is_read_by_a_classifier_of_its_own():
    features, truth = table()
    said = one_by_one(logistic)(features, truth, 0)(table(1)[0])
    for k in (0, 1):
        assert ((said[:, k] > 0.5) == table(1)[1][:, k]).mean() > 0.93


def test_a_class_that_is_always_or_never_there_keeps_its_rate():
    features, truth = table()
    said = one_by_one(logistic)(features, truth, 0)(features)
    assert (said[:, 2] == 0).all()
    assert (said[:, 3] == 1).all()


def test_probabilities_are_scikit_learns():
    features, truth = table()
    said = one_by_one(lambda seed: LogisticRegression())(features, truth, 0)(features)
    own = LogisticRegression().fit(features, truth[:, 1]).predict_proba(features)[:, 1]
    assert said[:, 1] == pytest.approx(own)
