"""Random numbers of samples: uniform, without a trace of each other, and the same in any batch."""

import numpy as np
import pytest

from bandloom.draws.sample_draws import uniforms

DRAWS = np.arange(4096, dtype=np.uint64)  # keys that differ in few bits are the hard case


def test_a_samples_numbers_depend_on_its_key_and_purpose_alone():
    whole = uniforms(DRAWS, 1, 20)
    np.testing.assert_array_equal(uniforms(DRAWS[7:9], 1, 20), whole[7:9])
    np.testing.assert_array_equal(uniforms(DRAWS, 1, 30)[:, :20], whole)
    assert (uniforms(DRAWS, 2, 20) != whole).mean() > 0.999


def test_they_are_uniform_in_every_place():
    numbers = uniforms(DRAWS, 1, 64)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.apply_along_axis(lambda column: np.histogram(column, 16, (0, 1))[0], 0, numbers)  # (16, 64)
    chi_square = ((counts - 256.0) ** 2 / 256).sum(0)  # 15 degrees of freedom: mean 15, deviation 5.5
    assert chi_square.mean() == pytest.approx(15, abs=3)
    assert chi_square.max() < 45


@pytest.mark.parametrize(("one", "other"), [((1, 0), (1, 1)), ((1, 0), (2, 0)), ((1, 5), (2, 6))])
def test_places_and_purposes_are_not_correlated(one: tuple[int, int], other: tuple[int, int]):
    a, b = (uniforms(DRAWS, purpose, 8)[:, place] for purpose, place in (one, other))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.06  # 4 deviations of 4,096 pairs
    assert abs(np.corrcoef(a[1:], b[:-1])[0, 1]) < 0.06
