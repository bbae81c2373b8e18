"""Scores of several classes a chip: probabilities, calibration and tuned thresholds, against scipy and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn import metrics as oracle

from bandloom.finetune.scores.multilabel import MultilabelRow
from bandloom.finetune.scores.several_scorer import SeveralLook, SeveralScorer, binary, sigmoid
from tests.finetune.models import LABELS


def logits_and_truth(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (count, 3))
    return logits, (rng.random((count, 3)) < expit(logits / 2)).astype(np.uint8)  # twice as sure as it may be


def look(logits: np.ndarray, truth: np.ndarray, temperature: float) -> SeveralLook:
    score = sigmoid(logits / temperature)
    row = MultilabelRow(
        name="m", truth=truth, score=score, block_of=np.zeros(len(truth), np.uint64), thresholds=np.full(3, 0.5)
    )
    return SeveralLook(row, logits, temperature, [])


def test_probabilities_are_scipys_and_large_logits_do_not_overflow():
    logits = np.array([-1e4, -30.0, -1.0, 0.0, 2.5, 30.0, 1e4])
    assert sigmoid(logits) == pytest.approx(expit(logits), abs=1e-12)
    assert sigmoid(logits)[[0, -1]].tolist() == [0.0, 1.0]


def test_a_yes_or_no_is_a_softmax_of_nought_and_the_logit():
    logits, truth = logits_and_truth(20)
    pairs, labels = binary(logits, truth)
    assert pairs.shape == (60, 2)
    assert torch.from_numpy(pairs).softmax(1)[:, 1].numpy() == pytest.approx(expit(logits).ravel())
    assert labels.tolist() == truth.ravel().tolist()


def test_calibration_is_the_gap_between_how_sure_and_how_often_right_in_a_naive_loop():
    logits, truth = logits_and_truth()
    said = look(logits, truth, 2.0).calibration()
    assert said["temperature"] == 2.0
    for key, temperature in (("before", 1.0), ("after", 2.0)):
        score = expit(logits / temperature).ravel()
        sure, right = np.maximum(score, 1 - score), (score >= 0.5) == truth.ravel()
        bins, gap = len(said[key]["counts"]), 0.0
        place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
        for number in range(bins):
            own = place == number
            gap += abs(sure[own].sum() - right[own].sum()) / len(sure)
        assert said[key]["error"] == pytest.approx(gap, abs=2e-3)
    assert said["after"]["error"] < said["before"]["error"] / 2


def test_scores_of_a_look_are_scikit_learns_at_its_thresholds():
    logits, truth = logits_and_truth()
    found = look(logits, truth, 1.0).row.scores(LABELS.names)
    assert found["map_macro"] == pytest.approx(oracle.average_precision_score(truth, logits, average="macro"))
    assert found["f1_macro"] == pytest.approx(oracle.f1_score(truth, logits >= 0, average="macro"))


def test_a_step_is_kept_by_the_likelihood_of_every_yes_and_no_and_there_is_no_matrix():
    logits, truth = logits_and_truth(400)
    scorer, own = SeveralScorer(), look(logits, truth, 1.0)
    kept = scorer.kept_by(own, own.row)
    best = min(oracle.log_loss(truth.ravel(), expit(logits / t).ravel()) for t in np.geomspace(0.5, 8, 800))
    assert kept == pytest.approx(-best, abs=1e-4)
    assert kept == pytest.approx(scorer.kept_by(look(logits * 3, truth, 1.0), own.row), abs=1e-4)
    assert kept > scorer.kept_by(look(-logits, truth, 1.0), own.row)
    assert scorer.extras(None, None) == {}
