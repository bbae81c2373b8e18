"""Estimators against the worked examples of their authors, plain arithmetic, and simulation."""

import numpy as np
import pytest

from bandloom.export.assess.estimates import Sample, class_estimates, error_matrix, overall_accuracy

# Olofsson et al. (2014), table 8: deforestation, forest gain, stable forest, stable non-forest; map in rows
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])


def sample_of(counts: np.ndarray, pixels: np.ndarray, pixel_ha: float = 0.09) -> Sample:
    """Return the points of an error matrix whose rows are the strata."""
    mapped, reference = np.indices(counts.shape).reshape(2, -1).repeat(counts.ravel(), axis=1)
    return Sample(mapped, mapped, reference, np.full(len(mapped), pixel_ha), pixels * pixel_ha, pixels)


def test_the_worked_example_of_olofsson_is_met_to_its_printed_digits():
    """Olofsson et al. (2014), page 54."""
    sample = sample_of(COUNTS, PIXELS)
    overall, classes = overall_accuracy(sample), [class_estimates(sample, index) for index in range(4)]
    assert (round(overall.value, 2), round(overall.half_width, 2)) == (0.95, 0.02)
    assert [round(land_class.users_accuracy.value, 2) for land_class in classes] == [0.88, 0.73, 0.93, 0.96]
    assert [round(land_class.producers_accuracy.value, 2) for land_class in classes] == [0.75, 0.85, 0.93, 0.96]
    deforestation = classes[0]
    assert round(deforestation.users_accuracy.half_width, 2) == 0.07
    assert round(deforestation.producers_accuracy.half_width, 2) == 0.21
    area = deforestation.area_ha
    assert (round(area.value / 0.09), round(area.half_width / 0.09, -1)) == (235_086, 68_420)  # printed as 68,418
    assert (round(area.value), round(area.half_width)) == (21_158, 6_158)


def test_standard_errors_are_those_of_equations_5_to_7_and_10():
    sample, weights, n = sample_of(COUNTS, PIXELS), PIXELS / PIXELS.sum(), COUNTS.sum(1)
    users = np.diag(COUNTS) / n
    assert overall_accuracy(sample).standard_error == pytest.approx(
        np.sqrt(np.sum(weights**2 * users * (1 - users) / (n - 1)))
    )
    for j in range(4):
        each, share = class_estimates(sample, j), COUNTS[:, j] / n
        producers = weights[j] * users[j] / (weights @ share)
        assert each.users_accuracy.standard_error == pytest.approx(np.sqrt(users[j] * (1 - users[j]) / (n[j] - 1)))
        terms = PIXELS**2 * share * (1 - share) / (n - 1) * np.where(np.arange(4) == j, 1 - producers, producers) ** 2
        assert each.producers_accuracy.standard_error == pytest.approx(np.sqrt(terms.sum()) / (PIXELS @ share))
        assert each.area_share.standard_error == pytest.approx(
            np.sqrt(np.sum(weights**2 * share * (1 - share) / (n - 1)))
        )


def test_the_error_matrix_of_the_worked_example_holds_shares_of_the_area():
    """Equation 4: the weight of a class of the map times the share of its points."""
    expected = (PIXELS / PIXELS.sum())[:, None] * COUNTS / COUNTS.sum(1, keepdims=True)
    np.testing.assert_allclose(error_matrix(sample_of(COUNTS, PIXELS), 4), expected, rtol=1e-12)


def test_the_worked_example_of_stehman_is_met_where_strata_and_map_differ():
    """Stehman (2014), pages 4932 to 4936, whose points are printed in the manual of the R package mapaccuracy.

    The one figure that differs is the standard error of producer's accuracy: 0.114 in print, 0.117 by its equation 28.
    """
    strata = np.repeat(range(4), 10)
    mapped = np.array(["ABCD".index(letter) for letter in "AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD"])
    reference = np.array(["ABCD".index(letter) for letter in "AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB"])
    pixels = np.array([40_000, 30_000, 20_000, 10_000])
    sample = Sample(strata, mapped, reference, np.ones(40), pixels.astype(float), pixels)
    area = [class_estimates(sample, index).area_share for index in range(4)]
    b, overall = class_estimates(sample, 1), overall_accuracy(sample)
    assert [round(area[index].value, 2) for index in (0, 2)] == [0.35, 0.20]
    assert [round(area[index].standard_error, 3) for index in (0, 2)] == [0.082, 0.064]
    assert (round(overall.value, 2), round(overall.standard_error, 3)) == (0.63, 0.085)
    assert (round(b.users_accuracy.value, 3), round(b.users_accuracy.standard_error, 3)) == (0.574, 0.125)
    assert (round(b.producers_accuracy.value, 3), round(b.producers_accuracy.standard_error, 3)) == (0.794, 0.117)
    residual = ((mapped == 1) & (reference == 1)) - b.producers_accuracy.value * (reference == 1)
    variance = sum(pixels[h] ** 2 * residual[strata == h].var(ddof=1) / 10 for h in range(4))
    there = sum(pixels[h] * (reference[strata == h] == 1).mean() for h in range(4))
    assert b.producers_accuracy.standard_error == pytest.approx(np.sqrt(variance) / there)
    assert round(error_matrix(sample, 4)[1, 2], 2) == 0.08


def test_the_interval_holds_the_truth_in_93_to_97_of_100_draws():
    truth = np.array([[0.85, 0.10, 0.05], [0.06, 0.90, 0.04], [0.10, 0.10, 0.80]])  # by class of the map
    pixels, draws, points = np.array([100_000, 600_000, 300_000]), 1000, 400
    share, right, rng = pixels / pixels.sum(), np.diag(truth), np.random.default_rng(1)
    area = share @ truth
    expected = np.array([share @ right, *right, *(share * right / area), *area])
    drawn = np.stack([rng.multinomial(points, row, draws) for row in truth], axis=1)
    held = np.mean([_holds(sample_of(counts, pixels), expected) for counts in drawn], axis=0)
    assert ((held >= 0.93) & (held <= 0.97)).all(), held


def _holds(sample: Sample, expected: np.ndarray) -> np.ndarray:
    classes = [class_estimates(sample, index) for index in range(3)]
    kinds = ("users_accuracy", "producers_accuracy", "area_share")
    estimates = [overall_accuracy(sample), *(getattr(land_class, kind) for kind in kinds for land_class in classes)]
    low, high = np.transpose([estimate.interval for estimate in estimates])
    return (low <= expected) & (expected <= high)


def test_pixels_of_other_areas_weigh_as_their_areas():
    """One stratum whose every pixel is a point: nothing is left to estimate, and the areas are a plain sum."""
    area, reference = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 0, 1])
    zero = np.zeros(4, int)
    sample = Sample(zero, zero, reference, area, np.array([10.0]), np.array([4]))
    estimate = class_estimates(sample, 1).area_ha
    assert (estimate.value, estimate.standard_error) == (pytest.approx(6), 0)


def test_a_class_without_a_point_on_the_map_has_no_users_accuracy():
    counts = np.array([[5, 1], [2, 8]])
    sample = sample_of(counts, np.array([100, 100]))
    assert class_estimates(sample, 2).record()["users_accuracy"] is None
    assert class_estimates(sample, 2).area_ha.value == 0
