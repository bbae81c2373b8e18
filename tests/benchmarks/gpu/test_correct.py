"""Call ``correct`` of the GPU benchmarks: what counts as the CPU's answer."""

import math

import pytest

from benchmarks.gpu.correct import MOST_OFF, most_off


def test_the_largest_relative_difference_is_told():
    assert most_off([1.0, 2.2, 4.0], [1.0, 2.0, 4.0]) == pytest.approx(0.1)


def test_a_loss_that_is_no_number_lies_within_no_limit():
    off = most_off([1.0, math.nan, 3.0], [1.0, 2.0, 3.0])
    assert not any(off <= limit for limit in MOST_OFF.values())
