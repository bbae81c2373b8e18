"""Allocation against the published example, plain proportions and its own promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandloom.errors import ConfigError
from bandloom.export.assess.allocation import allocate


def test_a_minimum_and_the_rest_in_proportion_is_the_published_allocation():
    """Olofsson et al. (2014) rounded to 75, 75, 165 and 325 of 640 points."""
    assert allocate([200_000, 150_000, 3_200_000, 6_450_000], 75, 640) == [75, 75, 162, 328]


def test_equal_proportional_and_neither():
    assert allocate([1000, 20, 500], 30, None) == [30, 20, 30]
    assert allocate([6000, 3000, 1000], None, 100) == [60, 30, 10]
    assert allocate([6000, 3000, 1000], None, None) == [50, 50, 50]


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=12), st.integers(2, 60), st.integers(0, 2000))
def test_no_stratum_gets_less_than_the_minimum_or_more_than_it_has(pixels, least, more):
    total = sum(min(least, count) for count in pixels) + more
    points = allocate(pixels, least, total)
    assert sum(points) == min(total, sum(pixels))
    assert all(min(least, count) <= n <= count for n, count in zip(points, pixels, strict=True))


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"--total 60 is less than 50 points in each of 3 classes \(150\); raise it"):
        allocate([1000] * 3, 50, 60)
    with pytest.raises(ConfigError, match="--per-class 1 is too few"):
        allocate([1000], 1, None)
