"""Scores of several classes a chip and their intervals: scikit-learn with weights, and a naive loop over draws."""

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as oracle

from bandloom.errors import RunFolderError
from bandloom.several_scores import (
    DECISIONS,
    Several,
    drawn_averages,
    draws_for,
    headline,
    intervals,
    margins,
    read_decisions,
    weighted_average_precision,
    write_decisions,
)


def several(seed: int = 0, noise: float = 0.8, count: int = 120, blocks: int = 8) -> Several:
    truth = (np.random.default_rng(5).random((count, 3)) < (0.1, 0.5, 0.3)).astype(np.uint8)
    score = np.round(0.5 * truth + np.random.default_rng(seed).random((count, 3)) * noise, 2)  # rounded: ties occur
    return Several(truth, score, score >= 0.5, np.arange(count) % blocks)


def test_average_precision_under_weights_is_scikit_learns():
    held, rng = several(), np.random.default_rng(1)
    weights = rng.integers(0, 4, (6, 120)).astype(float)
    for truth, score in zip(held.truth.T, held.score.T, strict=True):
        wanted = [oracle.average_precision_score(truth, score, sample_weight=row) for row in weights]
        assert weighted_average_precision(truth, score, weights) == pytest.approx(wanted)


def test_a_class_that_is_never_true_has_no_average_precision_and_no_chips_have_none():
    assert np.isnan(weighted_average_precision(np.zeros(3), np.arange(3.0), np.ones((2, 3)))).all()
    assert np.isnan(weighted_average_precision(np.zeros(0), np.zeros(0), np.ones((2, 0)))).all()


def test_the_drawn_averages_are_those_of_a_loop_that_repeats_the_chips_of_each_block():
    held = several()
    got = drawn_averages(held, 20, seed=3)
    times = np.random.default_rng(3).multinomial(8, np.full(8, 1 / 8), size=20)
    for draw, row in enumerate(times):
        chips = np.concatenate([np.tile(np.flatnonzero(held.block_of == block), n) for block, n in enumerate(row)])
        drawn = held.part(chips)
        wanted, occurs = headline(drawn), drawn.truth.any(axis=0)
        truth, score = drawn.truth[:, occurs], drawn.score[:, occurs]
        assert wanted["map_macro"] == pytest.approx(oracle.average_precision_score(truth, score, average="macro"))
        assert {name: got[name][draw] for name in got} == pytest.approx(wanted)


def test_a_model_that_is_ahead_of_another_on_the_same_chips_has_a_margin_above_zero():
    good, bad = several(1, noise=0.55), several(2, noise=1.5)
    ahead = margins(good, bad, 200)
    assert all(low > 0 for low, _ in ahead.values())
    behind = margins(bad, good, 200)
    assert all(behind[name] == pytest.approx([-high, -low]) for name, (low, high) in ahead.items())
    own = intervals(good, 200)
    for name, value in headline(good).items():
        assert own[name][0] <= value <= own[name][1]


def test_without_draws_blocks_or_the_same_chips_there_is_no_margin():
    held = several()
    assert margins(held, held, 0) == margins(several(blocks=1), several(blocks=1)) == {}
    other = Several(1 - held.truth, held.score, held.said, held.block_of)
    assert margins(held, other) == margins(held, held.part(np.arange(60))) == {}
    assert intervals(held, 0) == intervals(several(blocks=1)) == {}


def test_very_many_chips_are_drawn_fewer_times_and_never_less_than_two_hundred():
    assert draws_for(several()) == 1000
    assert draws_for(several(), 50) == 50
    many = np.broadcast_to(np.zeros(1, np.uint8), (10**7, 19))
    assert draws_for(Several(many, many, many, np.zeros(1))) == 200


def test_decisions_are_read_back_and_a_damaged_file_is_refused(tmp_path: Path):
    rows = {"fine-tuned": several(1), "stats rf": several(2)}
    write_decisions(tmp_path, rows, "split")
    for name, held in read_decisions(tmp_path).items():
        assert (held.truth == rows[name].truth).all()
        assert (held.said == rows[name].said).all()
        assert held.score == pytest.approx(rows[name].score, abs=1e-6)
    (tmp_path / DECISIONS).write_bytes((tmp_path / DECISIONS).read_bytes()[:100])
    with pytest.raises(RunFolderError, match=r"is damaged .* restore it, or run its stage again"):
        read_decisions(tmp_path)
    assert read_decisions(tmp_path / "elsewhere") == {}
