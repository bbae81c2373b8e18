"""Baselines for tokens: the features are those of a naive loop, and what is chosen is chosen on validation ground."""

import numpy as np
import pytest

from bandloom.finetune.baselines.features import random_conv
from bandloom.finetune.data.own_bands import pixel_bands
from bandloom.shards.synth import SENSOR
from benchmarks.token_baselines import FILTERS, TokenFeatures, random_conv_tokens, swept_accuracy

SIDE_PX, TOKEN_PX, CHIPS = 24, 6, 2
IGNORE = -1


@pytest.fixture(scope="module")
def chips() -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    sides = {group.gsd_m: (len(group.bands), SIDE_PX * 10 // group.gsd_m) for group in SENSOR.groups}
    return {
        gsd_m: rng.integers(1100, 5000, (CHIPS, bands, side, side)).astype(np.uint16)
        for gsd_m, (bands, side) in sides.items()
    }


def test_a_token_is_the_mean_of_its_pixels_and_of_the_nine_tokens_around_it(chips) -> None:
    bands = sum(len(group.bands) for group in SENSOR.groups)
    mean, std = np.full(bands, 0.2), np.full(bands, 0.1)
    found = random_conv_tokens(chips, SENSOR, mean, std, TOKEN_PX).reshape(CHIPS, 4, 4, 4 * FILTERS)
    for chip in range(CHIPS):
        pixels = pixel_bands({gsd_m: group[chip] for gsd_m, group in chips.items()}, SENSOR)
        response = random_conv(pixels, mean, std, FILTERS)
        tokens = np.array(
            [[response[:, y : y + 6, x : x + 6].mean((1, 2)) for x in range(0, 24, 6)] for y in range(0, 24, 6)]
        )
        np.testing.assert_allclose(found[chip, ..., : 2 * FILTERS], tokens, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[chip, 1, 2, 2 * FILTERS :], tokens[:3, 1:4].mean((0, 1)), rtol=1e-4, atol=1e-5)


def test_the_features_and_the_classifier_are_chosen_on_validation_tokens() -> None:
    """The candidate that fits the unseen scenes alone is passed over for the one that fits the validation scenes."""
    rng = np.random.default_rng(1)
    labels, validation, unseen = (rng.integers(0, 3, n) for n in (90, 60, 60))

    def told(classes: np.ndarray, *, truly: bool) -> np.ndarray:
        shown = classes if truly else rng.integers(0, 3, len(classes))
        return np.eye(3)[shown] + rng.normal(0, 0.05, (len(classes), 3))

    fits_validation = TokenFeatures(told(labels, truly=True), told(validation, truly=True), told(unseen, truly=False))
    fits_unseen = TokenFeatures(told(labels, truly=True), told(validation, truly=False), told(unseen, truly=True))
    rows = np.arange(90)
    score = swept_accuracy([fits_unseen, fits_validation], labels, rows, validation, unseen, IGNORE, 0)
    assert score < 0.6
    assert swept_accuracy([fits_unseen], labels, rows, validation, unseen, IGNORE, 0) > 0.95


def test_a_forest_is_taken_where_a_straight_line_cannot_tell_classes_apart() -> None:
    rng = np.random.default_rng(2)
    points = [rng.uniform(-1, 1, (n, 2)).astype(np.float32) for n in (400, 200, 200)]
    labels, validation, unseen = ((p[:, 0] * p[:, 1] > 0).astype(int) for p in points)
    unseen[:20] = IGNORE
    features, rows = TokenFeatures(*points), np.arange(400)
    both = swept_accuracy([features], labels, rows, validation, unseen, IGNORE, 0)
    ridge = swept_accuracy([features], labels, rows, validation, unseen, IGNORE, 0, classifiers=("ridge",))
    assert both > 0.9
    assert ridge < 0.7
