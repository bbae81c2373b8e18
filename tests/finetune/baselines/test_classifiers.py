import numpy as np
import pytest

from bandloom.finetune.baselines import classifiers
from bandloom.finetune.baselines.classifiers import logistic, majority, neighbours

MAKERS = ("majority", "logistic", "forest", "neighbours", "linear_svm", "rbf_svm")


def blobs(seed: int, count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    features = 5 * np.eye(3)[labels] + rng.normal(size=(count, 3))
    return features * (1, 1000, 0.001), labels  # as reflectance and its statistics differ


@pytest.mark.parametrize("name", MAKERS[1:])
def test_every_classifier_tells_blobs_apart_whatever_their_scale(name):
    classifier = getattr(classifiers, name)(0)
    classifier.fit(*blobs(0))
    features, labels = blobs(1)
    assert (classifier.predict(features) == labels).mean() > 0.95


@pytest.mark.parametrize("name", MAKERS)
def test_a_seed_gives_the_same_answers(name):
    answers = []
    for _ in range(2):
        classifier = getattr(classifiers, name)(3)
        classifier.fit(*blobs(0))
        answers.append(classifier.predict(blobs(1)[0]).tolist())
    assert answers[0] == answers[1]


def test_the_majority_is_the_commonest_training_class():
    classifier = majority(0)
    classifier.fit(np.zeros((5, 2)), np.array([2, 1, 1, 1, 0]))
    assert classifier.predict(np.ones((3, 2))).tolist() == [1, 1, 1]


@pytest.mark.parametrize("make", [logistic, neighbours])
def test_an_absent_band_is_the_training_mean(make):
    features, labels = blobs(0)
    classifier = make(0)
    classifier.fit(features, labels)
    absent, filled = blobs(1)[0], blobs(1)[0]
    absent[:, 1], filled[:, 1] = np.nan, features[:, 1].mean()
    assert classifier.predict(absent).tolist() == classifier.predict(filled).tolist()


def test_a_band_that_is_absent_in_training_too_breaks_nothing():
    features, labels = blobs(0)
    features[:, 2] = np.nan
    classifier = logistic(0)
    classifier.fit(features, labels)
    assert set(classifier.predict(features)) <= {0, 1, 2}


def test_a_forest_gives_the_same_answer_whenever_it_is_asked():
    """Threads that add up its trees in the order of their ends flipped a few of 20,000 pixels each time."""
    rng = np.random.default_rng(0)
    features, labels, asked = rng.normal(size=(2000, 13)), rng.integers(0, 13, 2000), rng.normal(size=(20_000, 13))
    fitted = [classifiers.forest(0).fit(features, labels) for _ in range(2)]
    first, *others = [model.predict(asked) for model in fitted for _ in range(3)]
    assert all((first == other).all() for other in others)
