import warnings

import numpy as np
import pytest

from bandloom.finetune.baselines.features import chip_statistics, context_bands, random_conv
from bandloom.rasters.values import dn_to_reflectance
from tests.finetune.models import S2


def test_means_and_deviations_of_windows_equal_a_loop():
    bands = np.random.default_rng(0).random((2, 7, 9)).astype(np.float32)
    layers = context_bands(bands, (1, 2))
    assert layers.shape == (10, 7, 9)
    assert np.array_equal(layers[:2], bands)
    for at, radius in enumerate((1, 2)):
        padded = np.pad(bands, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
        for row, column in ((0, 0), (3, 4), (6, 8)):
            window = padded[:, row : row + 2 * radius + 1, column : column + 2 * radius + 1]
            assert layers[2 + 4 * at : 4 + 4 * at, row, column] == pytest.approx(window.mean((1, 2)), abs=1e-5)
            assert layers[4 + 4 * at : 6 + 4 * at, row, column] == pytest.approx(window.std((1, 2)), abs=1e-3)


def test_absent_pixels_count_as_the_mean_and_stay_absent_themselves():
    bands = np.ones((1, 5, 5), np.float32)
    bands[0, 2, 2] = np.nan
    layers = context_bands(bands, (1,))
    assert np.isnan(layers[0, 2, 2])
    assert np.allclose(layers[1], 1)
    assert np.allclose(layers[2], 0, atol=1e-3)


def test_ground_where_nothing_was_measured_is_nought_and_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers = context_bands(np.full((1, 3, 3), np.nan, np.float32), (1,))
    assert np.isnan(layers[0]).all()
    assert (layers[1:] == 0).all()


def test_statistics_of_a_chip_are_numpys_on_native_samples_that_were_measured():
    rng = np.random.default_rng(0)
    groups = {
        g.gsd_m: rng.integers(900, 6000, (len(g.bands), 60 // g.gsd_m * 2, 60 // g.gsd_m * 2)).astype(np.uint16)
        for g in S2.groups
    }
    groups[10][0, :3] = 0  # absent
    groups[60][1] = 0  # a whole band
    found = chip_statistics(groups, S2).reshape(-1, 4)
    bands = [band for group in S2.groups for band in dn_to_reflectance(groups[group.gsd_m])]
    assert len(found) == len(bands) == 13
    absent = sum(len(group.bands) for group in S2.groups if group.gsd_m < 60) + 1
    for index, (row, band) in enumerate(zip(found, bands, strict=True)):
        if index == absent:
            assert np.isnan(row).all()
            continue
        seen = band[np.isfinite(band)]
        assert row == pytest.approx([seen.mean(), seen.std(), seen.min(), seen.max()], rel=1e-5)


def test_random_filters_are_those_of_a_loop_rectified_with_both_signs():
    bands = np.random.default_rng(1).random((2, 6, 6)).astype(np.float32)
    mean, std = bands.mean((1, 2)), bands.std((1, 2))
    found = random_conv(bands, mean, std, filters=3)
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((3, 2, 3, 3)) / np.sqrt(18)
    bias = 0.5 * rng.standard_normal(3)
    scaled = np.pad((bands - mean[:, None, None]) / std[:, None, None], ((0, 0), (1, 1), (1, 1)), mode="edge")
    for row, column in ((0, 0), (2, 3), (5, 5)):
        window = scaled[:, row : row + 3, column : column + 3]
        response = (weight * window).sum((1, 2, 3)) + bias
        expected = [*np.maximum(response, 0), *np.maximum(-response, 0)]
        assert found[:, row, column] == pytest.approx(expected, abs=1e-5)


def test_random_filters_are_always_the_same_and_absent_bands_stand_at_their_mean():
    bands = np.random.default_rng(1).random((2, 6, 6)).astype(np.float32)
    mean, std = np.array([0.5, 0.5]), np.array([0.2, 0.2])
    assert np.array_equal(random_conv(bands, mean, std), random_conv(bands, mean, std))
    at_mean, absent = bands.copy(), bands.copy()
    at_mean[1], absent[1] = 0.5, np.nan
    assert np.allclose(random_conv(at_mean, mean, std), random_conv(absent, mean, std))
