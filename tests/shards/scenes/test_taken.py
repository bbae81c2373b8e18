"""Dates that a scene's satellite cannot have seen are said, whatever form of scene states them."""

import logging
import re
from datetime import UTC, datetime, timedelta

import pytest

from bandloom.shards.scenes import open_scene
from bandloom.shards.scenes.taken import LAUNCHED
from tests.shards.conftest import L1C, numbered

TOMORROW = datetime.now(UTC) + timedelta(days=1.5)


@pytest.mark.parametrize(
    ("time", "why"),
    [
        (TOMORROW, "which is yet to come"),
        (datetime(2099, 1, 1, tzinfo=UTC), "which is yet to come"),
        (datetime(2001, 9, 9, tzinfo=UTC), r"before sentinel2 flew \(2015-06-23\)"),
        (datetime.now(UTC), None),
        (LAUNCHED["sentinel2"] + timedelta(days=4), None),  # its first image
    ],
)
@pytest.mark.parametrize("form", ["tag", "names of a folder's files"])
def test_a_date_that_cannot_be_is_said_once_and_kept(write_stack, tmp_path, caplog, form, time, why):
    path, stated = tmp_path / f"scene-{form[:3]}-{time:%Y%m%d}", f"{time:%Y%m%dT%H%M%S}"
    tags = {"RADIO_ADD_OFFSET": "-1000"}
    if form == "tag":
        path = write_stack(path.with_suffix(".tif"), tags=tags | {"ACQUISITION_TIME": f"{time:%Y-%m-%dT%H:%M:%S}"})
    else:
        path.mkdir()
        for number, band in enumerate(L1C):
            write_stack(
                path / f"T33UXP_{stated}_{band}.tif", numbered(13, 96, 108)[number, None], names=None, tags=tags
            )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with open_scene(path) as scene:
                assert scene.datetime is not None
                assert abs(scene.datetime - time) < timedelta(seconds=1)
    said = [record.getMessage() for record in caplog.records if "was taken on" in record.getMessage()]
    assert len(said) == (why is not None)
    if why is not None:
        assert re.search(why, said[0])
