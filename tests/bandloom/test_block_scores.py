import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from bandloom.block_scores import BLOCKS, CLASS_SCORES, class_scores, headlines, margins, read_blocks
from bandloom.errors import RunFolderError


def blocks(seed: int, count: int, classes: int = 3) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {block: rng.integers(0, 20, (classes, classes)) for block in range(count)}


def test_margins_are_those_of_a_loop_that_draws_blocks_one_by_one():
    own, other = blocks(1, 7), blocks(2, 9)
    rng, gaps = np.random.default_rng(3), []
    for weights in rng.multinomial(7, np.full(7, 1 / 7), size=300):
        totals = [sum(int(weights[b]) * held[b] for b in range(7)) for held in (own, other)]
        pair = []
        for total in totals:
            truth, said = (np.repeat(np.indices(total.shape)[axis].ravel(), total.ravel()) for axis in (0, 1))
            pair.append(oracle.f1_score(truth, said, average="macro"))
        gaps.append(pair[0] - pair[1])
    assert margins(own, other, 300, seed=3)["macro_f1"] == pytest.approx(np.percentile(gaps, (2.5, 97.5)))


def test_margins_of_sums_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    truth, one, other = rng.normal(5, 2, (6, 30)), rng.normal(0, 1, (6, 30)), rng.normal(0.2, 1.3, (6, 30))

    def sums(error: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.array([error.size, error.sum(), (error**2).sum(), abs(error).sum(), of.sum(), (of**2).sum()])

    held = [{block: sums(errors[block], truth[block]) for block in range(6)} for errors in (one, other)]
    gaps = []
    for weights in np.random.default_rng(1).multinomial(6, np.full(6, 1 / 6), size=200):
        picked = np.repeat(np.arange(6), weights)
        gaps.append([np.sqrt((errors[picked] ** 2).mean()) for errors in (one, other)])
    wanted = np.percentile(np.array(gaps)[:, 0] - np.array(gaps)[:, 1], (2.5, 97.5))
    assert margins(*held, 200, seed=1)["rmse"] == pytest.approx(wanted)


@pytest.mark.parametrize("shared", [0, 1])
def test_one_block_says_nothing_of_chance(shared: int):
    own = blocks(0, 3)
    assert margins(own, {100 + block: counts for block, counts in own.items()} | {0: own[0]} if shared else {}) == {}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_of_each_class_equal_scikit_learns(seed: int):
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(0, 3, 40), rng.integers(0, 3, 40)
    confusion = np.bincount(truth * 4 + said, minlength=16).reshape(4, 4)  # the fourth class never occurs
    given_scores = class_scores(confusion)
    p, r, f1, _ = oracle.precision_recall_fscore_support(truth, said, labels=range(4), zero_division=np.nan)
    iou = oracle.jaccard_score(truth, said, labels=range(3), average=None, zero_division=0)
    for name, wanted in zip(CLASS_SCORES, (p, r, f1, np.append(iou, np.nan)), strict=True):
        np.testing.assert_allclose(given_scores[name], wanted)


def test_scores_of_a_stack_are_those_of_its_members():
    stack = np.stack(list(blocks(4, 5).values()))
    together = headlines(stack, classes=True)
    for number, confusion in enumerate(stack):
        for name, value in headlines(confusion, classes=True).items():
            assert together[name][number] == pytest.approx(value)


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": {"a": {"no number": [1]}}}', "{}"])
def test_damaged_blocks_are_one_sentence(tmp_path: Path, text: str):
    (tmp_path / BLOCKS).write_text(text)
    with pytest.raises(RunFolderError, match=r"blocks\.json is damaged .* restore it, or run its stage again\."):
        read_blocks(tmp_path)


def test_blocks_come_back_as_they_were_counted(tmp_path: Path):
    (tmp_path / BLOCKS).write_text(json.dumps({"rows": {"fine-tuned": {"00ff": [[1, 2], [3, 4]]}}}))
    assert read_blocks(tmp_path)["fine-tuned"][255].tolist() == [[1, 2], [3, 4]]
