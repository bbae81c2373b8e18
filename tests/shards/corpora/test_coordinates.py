"""Times of Zarr arrays against plain arithmetic of dates: units, calendars, times that are absent."""

import datetime as dt

import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.shards.corpora.coordinates import as_datetime, times
from bandloom.shards.corpora.zarr_v2 import ArrayInfo


def info(units, **more):
    return ArrayInfo((1,), (1,), np.dtype("<i8"), None, ".", 0, {"units": units, **more})


def read(number, units, dtype=np.int64, **more):
    return as_datetime(times("here", np.array([number], dtype), info(units, **more))[0])


@pytest.mark.parametrize(
    ("number", "units", "dtype", "expected"),
    [
        (2, "days since 2019-12-15", np.int64, dt.datetime(2019, 12, 17)),
        (2, "days since 2019-12-15 12:30", np.int64, dt.datetime(2019, 12, 17, 12, 30)),
        (90, "minutes since 2020-1-5 06:00:01.024", np.int64, dt.datetime(2020, 1, 5, 7, 30, 1)),
        (90, "seconds since 2020-01-05T06:00:01Z", np.int32, dt.datetime(2020, 1, 5, 6, 1, 31)),
        (18_000, "days since 1970-01-01", np.int32, dt.datetime(2019, 4, 14)),
        (1.5, "days since 2020-06-04 00:00:00", np.float64, dt.datetime(2020, 6, 5, 12)),
    ],
)
def test_times_are_read_in_their_unit_from_their_own_moment(number, units, dtype, expected):
    assert read(number, units, dtype) == expected.replace(tzinfo=dt.UTC)


def test_a_time_that_is_absent_is_none_and_no_first_day():
    assert read(np.iinfo(np.int64).min, "days since 2019-12-15") is None
    assert read(-1, "days since 2019-12-15", _FillValue=-1) is None
    assert read(np.nan, "days since 2019-12-15", np.float64) is None


@pytest.mark.parametrize(
    ("number", "units", "more"),
    [
        (1, "days since 2019-12-15 12:30 +05:30", {}),
        (1, "days since 2019-02-31", {}),
        (1, "days since 0001-01-01", {}),
        (1, "days since 2019-12-15", {"calendar": "360_day"}),
        (2**62, "days since 2019-12-15", {}),
    ],
)
def test_a_moment_that_cannot_be_told_is_refused(number, units, more):
    with pytest.raises(SceneError, match="here states"):
        read(number, units, **more)
