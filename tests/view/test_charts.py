import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandloom.view.charts import MOST_POINTS, line_chart, log_ticks, nice_ticks, thinned

numbers = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(numbers, numbers)
def test_ticks_are_round_and_span_the_values(a: float, b: float):
    low, high = min(a, b), max(a, b)
    if high - low < 1e-6 * max(1.0, abs(high)):
        return
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low + 1e-9 * abs(low)
    assert ticks[-1] >= high - 1e-9 * abs(high)
    assert 2 <= len(ticks) <= 8
    step = ticks[1] - ticks[0]
    assert round(step / 10 ** math.floor(math.log10(step * 1.0000001)), 6) in (1, 2, 5)


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_logarithmic_ticks_lie_around_the_values(a: float, b: float):
    low, high = min(a, b), max(a, b)
    ticks = log_ticks(low, high)
    assert ticks == sorted(ticks)
    assert ticks[0] <= low * 1.0000001
    assert ticks[-1] >= high * 0.9999999


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=3000))
def test_a_thinned_curve_keeps_its_end_and_its_mean(values: list[float]):
    curve = list(enumerate(values))
    thin = thinned(curve)
    assert len(thin) <= MOST_POINTS
    assert thin[-1][0] == curve[-1][0]
    assert min(values) - 1e-6 <= min(y for _, y in thin)
    assert max(values) + 1e-6 >= max(y for _, y in thin)


def test_a_chart_draws_its_points_where_they_belong():
    svg = line_chart({"loss": [(0, 1.0), (10, 0.0)]}, "loss")
    (first, last) = re.search(r'points="([^"]+)"', svg)[1].split()  # type: ignore[index]
    assert float(first.split(",")[0]) < float(last.split(",")[0])  # later is further right
    assert float(first.split(",")[1]) < float(last.split(",")[1])  # more is further up
    assert "<title>loss, step 10: 0</title>" in svg


@pytest.mark.parametrize("curves", [{}, {"loss": []}, {"loss": [(1, math.nan)]}])
def test_nothing_to_draw_is_an_empty_string(curves):
    assert line_chart(curves, "loss") == ""


def test_names_from_outside_are_escaped():
    svg = line_chart({"<script>alert(1)</script>": [(0, 1.0)], "b": [(1, 2.0)]}, "x")
    assert "<script>" not in svg
