"""The value convention: what goes in comes out, and absent stays absent."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bandloom.rasters.values import NODATA, SATURATED, dn_to_reflectance, reflectance_to_dn, valid


@given(arrays(np.float32, (5, 7), elements=st.floats(-0.0625, 6.0, width=32)))
def test_reflectance_survives_a_round_trip_to_half_a_step(reflectance: np.ndarray) -> None:
    assert np.abs(dn_to_reflectance(reflectance_to_dn(reflectance)) - reflectance).max() <= 0.5e-4 + 1e-6


def test_a_very_dark_pixel_never_turns_into_no_data() -> None:
    assert reflectance_to_dn(np.array([-5.0]))[0] == 1


def test_a_very_bright_pixel_never_turns_into_saturated() -> None:
    assert reflectance_to_dn(np.array([50.0]))[0] == SATURATED - 1


def test_nan_becomes_no_data_and_back() -> None:
    dn = reflectance_to_dn(np.array([np.nan, 0.1]))
    assert dn.tolist() == [NODATA, 2000]
    assert np.isnan(dn_to_reflectance(dn)[0])


def test_no_data_and_saturated_are_not_valid() -> None:
    assert valid(np.array([0, 1, 65534, 65535], np.uint16)).tolist() == [False, True, True, False]
