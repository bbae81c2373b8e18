"""Coordinates beside GDAL's own, and beyond what a projection can show."""

import numpy as np
import pytest
from rasterio.warp import transform

from bandloom.errors import LabelError
from bandloom.rasters.projected import projected
from bandloom.shards.labels.geometry import moved

FINE = np.array([[15.0, 45.0], [16.5, 46.0], [13.0, -3.0], [11.0, 0.0], [15.0, 89.0]])
BEYOND = [(200.0, 95.0), (-75.0, 0.0), (float("inf"), 3.0)]  # no latitude, a quarter around the earth, no number


@pytest.mark.parametrize("where", [(), (0,), (2,), (5,), (0, 3), (1, 1, 1)])
def test_one_point_that_cannot_be_shown_costs_no_other(where):
    places, lost = FINE.tolist(), [False] * len(FINE)
    for number, place in enumerate(where):
        places.insert(place, list(BEYOND[number % len(BEYOND)]))
        lost.insert(place, True)
    xs, ys = projected("EPSG:4326", "EPSG:32633", *np.array(places).T)
    assert (~np.isfinite(xs)).tolist() == lost
    expected = transform("EPSG:4326", "EPSG:32633", FINE[:, 0].tolist(), FINE[:, 1].tolist())
    np.testing.assert_array_equal(np.stack([xs, ys])[:, ~np.array(lost)], np.array(expected[:2]))


def test_no_points_are_no_points():
    assert [len(values) for values in projected("EPSG:4326", "EPSG:32633", [], [])] == [0, 0]


def test_labels_that_lie_nowhere_are_one_sentence():
    with pytest.raises(LabelError, match="nothing leads from the coordinate system"):
        moved(np.full((20, 2), 1e12), "EPSG:32633", "EPSG:4326")
