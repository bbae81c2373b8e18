"""Two runs on chips of several classes: paired on the chips that tested both."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bandloom.several_scores import Several, margins
from bandloom.view.comparison.paired import Pair, pair
from bandloom.view.comparison.scores import verdict
from tests.view.comparison.made_run import make_several_run


def several(seed: int, noise: float, blocks: range = range(12)) -> Several:
    truth = (np.random.default_rng(5).random((240, 3)) < (0.1, 0.5, 0.3)).astype(np.uint8)
    score = (0.5 * truth + np.random.default_rng(seed).random((240, 3)) * noise).astype(np.float32)
    held = Several(truth, score, score >= 0.5, np.arange(240) % 12)
    return held.part(np.flatnonzero(np.isin(held.block_of, blocks)))


def test_two_runs_have_the_margin_and_the_classes_of_the_chips_that_tested_both(tmp_path: Path):
    bad, good = several(1, 1.2), several(2, 0.6)
    both = pair(make_several_run(tmp_path / "a", bad), make_several_run(tmp_path / "b", good))
    assert isinstance(both, Pair)
    for name, between in margins(good, bad).items():
        assert both.scores[name].interval == pytest.approx(tuple(between))
    water = both.classes["water"]["average_precision"]
    wanted = [average_precision_score(held.truth[:, 0], held.score[:, 0]) for held in (bad, good)]
    assert [water.first, water.second] == pytest.approx(wanted)
    assert water.interval is not None
    assert water.interval[0] < water.gap < water.interval[1]
    assert both.support["water"] == bad.truth[:, 0].sum()
    assert (both.labels, both.blocks, both.why, both.draws) == (240, (12, 12, 12), "", 1000)
    assert verdict(both, ("1: a", "2: b")).startswith("2: b is better than 1: a: mAP")


def test_other_splits_are_compared_on_the_blocks_that_tested_both_whatever_their_order(tmp_path: Path):
    one, other = several(1, 1.2, range(9)), several(2, 0.6, range(4, 12))
    turned = other.part(np.argsort(-other.block_of.astype(int), kind="stable"))
    both = pair(make_several_run(tmp_path / "a", one), make_several_run(tmp_path / "b", turned, split="two"))
    assert isinstance(both, Pair)
    assert (both.labels, both.blocks) == (100, (5, 9, 8))


def test_chips_with_other_classes_are_not_compared(tmp_path: Path):
    one = several(1, 1.0)
    other = Several(1 - one.truth, one.score, one.said, one.block_of)
    told = pair(make_several_run(tmp_path / "a", one), make_several_run(tmp_path / "b", other))
    assert told == "They were tested on different ground: no score is compared."
