"""Scores of values: every definition is scikit-learn's, and sums by block give the scores of all at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from bandloom.block_scores import scores_of_sums
from bandloom.finetune.scores.values import HEADLINES, ValueRow, add_sums, block_sums


def pairs(seed: int, count: int = 500, blocks: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(30, 8, count)
    return truth, truth + rng.normal(1.5, 3, count), rng.integers(0, blocks, count)


def test_every_score_equals_scikit_learns():
    truth, predicted, blocks = pairs(0)
    found = ValueRow(name="m", sums=block_sums(truth, predicted, blocks)).scores(())
    assert tuple(found) == HEADLINES
    assert found["rmse"] == pytest.approx(oracle.root_mean_squared_error(truth, predicted))
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(truth, predicted))
    assert found["r2"] == pytest.approx(oracle.r2_score(truth, predicted))
    assert found["bias"] == pytest.approx(np.mean(predicted) - np.mean(truth))


@given(st.integers(0, 10_000), st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_sums_may_be_taken_in_any_parts(seed, cut):
    truth, predicted, blocks = pairs(seed, 60)
    whole, total = block_sums(truth, predicted, blocks), {}
    for part in (slice(None, cut), slice(cut, None)):
        add_sums(total, block_sums(truth[part], predicted[part], blocks[part]))
    assert total.keys() == whole.keys()
    for block, sums in whole.items():
        np.testing.assert_allclose(total[block], sums)


def test_unknown_values_count_nowhere():
    truth, predicted, blocks = pairs(1)
    holes = truth.copy()
    holes[::3] = np.nan
    known = np.isfinite(holes)
    row = ValueRow(name="m", sums=block_sums(holes, predicted, blocks))
    assert row.scored_on == known.sum()
    assert row.scores(())["rmse"] == pytest.approx(oracle.root_mean_squared_error(truth[known], predicted[known]))


def test_r2_of_equal_truths_is_one_without_an_error_and_nought_with_one():
    truth, blocks = np.full(8, 5.0), np.zeros(8, int)
    assert ValueRow(name="m", sums=block_sums(truth, truth, blocks)).scores(())["r2"] == oracle.r2_score(truth, truth)
    wrong = ValueRow(name="m", sums=block_sums(truth, truth + 1, blocks)).scores(())
    assert wrong["r2"] == oracle.r2_score(truth, truth + 1) == 0.0


def test_intervals_hold_the_scores_and_margins_are_of_pairs():
    truth, predicted, blocks = pairs(2)
    own = ValueRow(name="m", sums=block_sums(truth, predicted, blocks))
    worse = ValueRow(name="w", sums=block_sums(truth, predicted + 5, blocks))
    for name, (low, high) in own.intervals(300).items():
        assert low <= own.scores(())[name] <= high
    assert own.margins(worse, 300)["rmse"][1] < 0
    assert own.margins(own, 300)["rmse"] == [0.0, 0.0]
    assert own.intervals(0) == {}
    assert own.blocks == 9


def test_the_interval_is_that_of_a_naive_loop_over_blocks():
    truth, predicted, blocks = pairs(3)
    sums = block_sums(truth, predicted, blocks)
    stack = np.stack(list(sums.values()))
    weights = np.random.default_rng(0).multinomial(len(stack), np.full(len(stack), 1 / len(stack)), size=50)
    drawn = [float(scores_of_sums(sum(w * s for w, s in zip(weight, stack, strict=True)))["mae"]) for weight in weights]
    found = ValueRow(name="m", sums=sums).intervals(50)["mae"]
    assert found == pytest.approx(np.percentile(drawn, (2.5, 97.5)).tolist())
