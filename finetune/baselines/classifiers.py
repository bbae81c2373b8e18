"""scikit-learn's classifiers as baselines: absent bands filled by the training mean, features scaled if need be."""

from typing import Any, Protocol

import numpy as np


class Classifier(Protocol):
    """The part of scikit-learn's interface that is used here."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Any: ...  # noqa: D102
    def predict(self, X: np.ndarray) -> np.ndarray: ...  # noqa: D102


def majority(seed: int) -> Classifier:
    """Always the commonest training class: what a score is worth before any pixel is looked at."""
    from sklearn.dummy import DummyClassifier

    classifier: Any = DummyClassifier(strategy="most_frequent")
    return classifier


def logistic(seed: int, strength: float = 1.0) -> Classifier:
    """A linear classifier on standardised features; ``strength`` is C."""
    from sklearn.linear_model import LogisticRegression

    return filled(LogisticRegression(C=strength, max_iter=300, tol=1e-3), scale=True)


def forest(seed: int) -> Classifier:
    """A random forest of 100 trees, the usual baseline in land cover."""
    from sklearn.ensemble import RandomForestClassifier

    trees = RandomForestClassifier(100, min_samples_leaf=2, random_state=seed, n_jobs=-1)
    return _OneThreadAnswers(filled(trees, scale=False), trees)


class _OneThreadAnswers:
    """A forest that is fitted by all cores and asked by one.

    Its trees' probabilities are added in the order in which threads end: among 20,000 pixels a few that are nearly tied
    had another class each time.
    """

    def __init__(self, pipeline: Any, trees: Any) -> None:
        self._pipeline, self._trees = pipeline, trees

    def fit(self, X: np.ndarray, y: np.ndarray) -> "_OneThreadAnswers":
        self._trees.set_params(n_jobs=-1)
        self._pipeline.fit(X, y)
        self._trees.set_params(n_jobs=1)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self._pipeline.predict(X)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self._pipeline.predict_proba(X)


def neighbours(seed: int) -> Classifier:
    """The five nearest neighbours by standardised features."""
    from sklearn.neighbors import KNeighborsClassifier

    return filled(KNeighborsClassifier(5), scale=True)


def linear_svm(seed: int, strength: float = 0.1) -> Classifier:
    """A linear support vector machine; ``strength`` is C."""
    from sklearn.svm import LinearSVC

    settings: dict[str, Any] = {"C": strength, "dual": False, "tol": 1e-3, "random_state": seed}
    return filled(LinearSVC(**settings), scale=True)


def rbf_svm(seed: int, strength: float = 10.0) -> Classifier:
    """A support vector machine with a Gaussian kernel; ``strength`` is C."""
    from sklearn.svm import SVC

    return filled(SVC(C=strength, random_state=seed), scale=True)


def filled(classifier: Any, *, scale: bool) -> Classifier:
    """Return a scikit-learn estimator behind imputed, and where it matters standardised, features."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps: list[Any] = [SimpleImputer(keep_empty_features=True), *([StandardScaler()] if scale else []), classifier]
    pipeline: Any = make_pipeline(*steps)
    return pipeline
