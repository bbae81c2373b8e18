import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from bandloom.finetune.scores.calibration import BINS, Reliability, fit_temperature, softmax


def drawn(seed: int, count: int = 3000, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: a model that is calibrated at temperature 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes))
    return logits, (softmax(logits, 1).cumsum(1) < rng.random((count, 1))).sum(1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 400))
def test_the_error_equals_a_plain_loop_over_bins(seed, count):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(count), rng.random(count) < 0.6
    expected = 0.0
    for low in range(BINS):
        inside = (confidence > low / BINS) & (confidence <= (low + 1) / BINS)
        if inside.any():
            expected += inside.sum() / count * abs(correct[inside].mean() - confidence[inside].mean())
    assert Reliability.of(confidence, correct).error == pytest.approx(expected)


def test_the_bins_equal_scikit_learns_calibration_curve():
    logits, labels = drawn(1)
    probability = softmax(logits, 1)
    confidence, correct = probability.max(1), probability.argmax(1) == labels
    found = Reliability.of(confidence, correct).to_dict()
    accuracy, mean = calibration_curve(correct, confidence, n_bins=BINS)
    seen = np.array(found["counts"]) > 0
    np.testing.assert_allclose(np.array(found["accuracy"])[seen], accuracy)
    np.testing.assert_allclose(np.array(found["confidence"])[seen], mean)


def test_parts_add_up_to_the_whole():
    rng = np.random.default_rng(2)
    confidence, correct = rng.random(500), rng.random(500) < 0.5
    parts = sum((Reliability.of(confidence[i::3], correct[i::3]) for i in range(3)), Reliability.nothing())
    whole = Reliability.of(confidence, correct)
    assert (parts.counts == whole.counts).all()
    assert parts.error == pytest.approx(whole.error)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_factor_on_the_logits(factor):
    logits, labels = drawn(3)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.08)


def test_the_temperature_is_the_least_log_loss_and_lowers_the_calibration_error():
    logits, labels = drawn(4)
    loud = 3.0 * logits
    temperature = fit_temperature(loud, labels)
    losses = [log_loss(labels, softmax(loud / t, 1)) for t in (0.97 * temperature, temperature, 1.03 * temperature)]
    assert losses[1] == min(losses)
    before, after = (
        Reliability.of(p.max(1), p.argmax(1) == labels) for p in (softmax(loud, 1), softmax(loud / temperature, 1))
    )
    assert after.error < 0.3 * before.error


def test_without_labels_the_temperature_is_one_and_the_error_nought():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0
    assert Reliability.nothing().error == 0.0
