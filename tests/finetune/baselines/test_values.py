"""Baselines of regression on values that follow from features, against scikit-learn and plain arithmetic."""

import numpy as np
import pytest
from sklearn import metrics as oracle
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from bandloom.finetune.baselines.classic import Table
from bandloom.finetune.baselines.values import ValueBaseline, _score, boosting, forest, mean, ridge
from bandloom.finetune.data.splits import TEST, TRAIN


def table(seed: int, count: int = 200) -> Table:
    rng = np.random.default_rng(seed)
    features = rng.normal(3, 2, (count, 4))
    values = 2 * features[:, 0] - features[:, 1] + 10 + rng.normal(0, 0.1, count)
    return Table(features, values, rng.integers(0, 6, count).astype(np.uint64))


def scored(make, most: int = 20_000):
    baseline = ValueBaseline(lambda found, data: np.zeros(0), make, most)
    return _score("b", baseline, 0, {TRAIN: table(0), TEST: table(1)})


def test_the_mean_is_of_training_values_and_its_bias_is_what_the_test_differs_by():
    row = scored(mean)
    truth, said = table(1).labels, table(0).labels.mean()
    found = row.scores(())
    assert found["bias"] == pytest.approx(said - truth.mean())
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((truth - said) ** 2)))
    assert found["r2"] == pytest.approx(oracle.r2_score(truth, np.full(len(truth), said)))
    assert (row.fitted_on, row.scored_on, row.blocks, row.seeds) == (200, 200, 6, (0,))


def test_a_ridge_is_scikit_learns_on_standardised_features():
    scaler = StandardScaler().fit(table(0).features)
    own = RidgeCV(np.logspace(-3, 4, 8)).fit(scaler.transform(table(0).features), table(0).labels)
    said = own.predict(scaler.transform(table(1).features))
    assert scored(ridge).scores(())["rmse"] == pytest.approx(oracle.root_mean_squared_error(table(1).labels, said))
    assert scored(ridge).scores(())["r2"] > 0.99


@pytest.mark.parametrize("make", [forest, boosting])
def test_trees_learn_what_follows_from_features_and_the_same_twice(make):
    first, second = scored(make).scores(()), scored(make).scores(())
    assert 0.8 < first["r2"] <= 1
    assert first["rmse"] == pytest.approx(second["rmse"], rel=1e-12)


def test_a_feature_that_is_absent_is_the_training_mean():
    train, test = table(0), table(1)
    holes = test.features.copy()
    holes[:, 2] = np.nan
    filled = np.where(np.isnan(holes), train.features.mean(0), holes)
    fitted = ridge(0).fit(train.features, train.labels)
    assert fitted.predict(holes) == pytest.approx(fitted.predict(filled))


def test_no_more_labels_are_fitted_than_a_baseline_takes():
    assert scored(mean, most=50).fitted_on == 50
