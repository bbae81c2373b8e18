"""Every way to write a scene: read as arithmetic on what was written says, or refused in one sentence."""

import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from rasterio.warp import transform as transform_points

from bandloom.errors import BandloomError
from bandloom.sensors import SLOT_GSD_M
from bandloom.shards.scenes import open_scene
from tests.shards.scenes.written_scene import SIDE_PX, Recipe, Written, recipes, write_scene

OUTCOMES: Counter[str] = Counter()


def outcome(written: Written) -> str:
    """Return ``right`` or the sentence of a refusal.

    Raises:
        AssertionError: it was read, and differs from what was written.
    """
    try:
        with open_scene(written.path, **written.options) as scene:
            width, height = (-(-round(side) // 60) * 60 for side in (scene.width_m, scene.height_m))
            groups = scene.read((0, 0, width, height))
    except BandloomError as refused:
        said = str(refused)
        assert said.endswith((".", "?")), said
        assert "\n" not in said
        return said
    assert scene.datetime is None, written.written_as  # no tag of acquisition was written
    assert scene.sensor.slots == written.slots
    if "warped_from" in scene.provenance:
        _check_warped(groups[10], scene, written)
    else:
        _check_samples(groups, scene, written)
    return "right"


def _check_samples(groups, scene, written):
    dn = np.rint(written.reflectance * 1e4) + 1000
    for group in scene.sensor.groups:
        factor, count = group.gsd_m // 10, SIDE_PX * 10 // group.gsd_m
        for slot, pixels in zip(group.slots, groups[group.gsd_m], strict=True):
            index = written.slots.index(slot)
            shape = (count, factor, count, factor)
            known = written.known[index].reshape(shape)
            total = np.where(known, dn[index].reshape(shape), 0).sum((1, 3))
            wanted = np.divide(total, known.sum((1, 3)), out=np.zeros((count, count)), where=known.any((1, 3)))
            np.testing.assert_array_equal(pixels == 0, ~known.any((1, 3)), f"{slot} {written.written_as}")
            np.testing.assert_allclose(pixels, wanted, atol=1.01, err_msg=f"{slot} {written.written_as}")


def _check_warped(pixels, scene, written):
    """Hold every sample against the pixels around its centre: between least and greatest, absent where all are."""
    height, width = pixels.shape[1:]
    rows, columns = np.mgrid[:height, :width] + 0.5
    x, y = scene.transform @ (columns.ravel(), rows.ravel())
    east, north = (np.array(coordinates) for coordinates in transform_points(scene.crs, written.crs, x, y)[:2])
    if written.crs == "EPSG:4326":
        east = (east - written.transform.c + 180) % 360 - 180 + written.transform.c
    at_column, at_row = ~written.transform @ (east, north)
    at_column, at_row = (np.floor(each).astype(int).reshape(height, width) for each in (at_column, at_row))
    margin = 3
    inside = (at_column >= margin) & (at_row >= margin) & (at_column < SIDE_PX - margin) & (at_row < SIDE_PX - margin)
    assert inside.mean() > 0.2, written.written_as
    far = (at_column < -margin) | (at_row < -margin) | (at_column >= SIDE_PX + margin) | (at_row >= SIDE_PX + margin)
    assert (pixels[:, far] == 0).all(), written.written_as
    around = [
        (np.clip(at_row + i, 0, SIDE_PX - 1), np.clip(at_column + j, 0, SIDE_PX - 1))
        for i in range(-margin, margin + 1)
        for j in range(-margin, margin + 1)
    ]
    slots = [slot for slot in written.slots if SLOT_GSD_M[slot] == 10]
    for slot, band in zip(slots, pixels, strict=True):
        index = written.slots.index(slot)
        dn = np.where(written.known[index], np.rint(written.reflectance[index] * 1e4) + 1000, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            low, high = (f([dn[place] for place in around], axis=0) for f in (np.nanmin, np.nanmax))
        whole = inside & np.all([np.isfinite(dn[place]) for place in around], axis=0)
        empty = inside & np.all([~np.isfinite(dn[place]) for place in around], axis=0)
        nonzero = inside & (band != 0)
        assert (band[whole] != 0).all(), written.written_as
        assert (band[empty] == 0).all(), written.written_as
        assert (band[nonzero] >= low[nonzero] - 2).all(), written.written_as
        assert (band[nonzero] <= high[nonzero] + 2).all(), written.written_as


def trial(recipe: Recipe) -> None:
    """Write one draw, read it, and count how it went."""
    with tempfile.TemporaryDirectory() as folder:
        written = write_scene(recipe, Path(folder))
        said = outcome(written)
    OUTCOMES["right" if said == "right" else "refused"] += 1


@given(recipe=recipes)
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_scene_is_read_wrong_without_a_word(recipe):
    trial(recipe)


@pytest.mark.fuzz
@given(recipe=recipes)
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_scene_of_two_thousand_is_read_wrong_without_a_word(recipe):
    trial(recipe)


def test_plain_scenes_are_not_all_refused():
    plain = Recipe("l1c", "uint16", (1e-4, -0.1), "tags", "internal", "utm", "B2", "stack", ("QA60",), True, 7)
    for place in ("utm", "degrees", "degrees over the antimeridian", "laea, northing first", "polar"):
        for absent in ("internal", "sidecar", "alpha", "nodata", "--nodata", "zero", "nothing"):
            recipe = Recipe(**(vars(plain) | {"place": place, "absent": absent}))
            with tempfile.TemporaryDirectory() as folder:
                assert outcome(write_scene(recipe, Path(folder))) == "right", recipe
