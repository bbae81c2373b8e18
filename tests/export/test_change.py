import json

import numpy as np
import pytest
import rasterio

from tests.export.stack_file import write_stack
from tests.export.test_predict import run
from tests.export.tiny_model import LABELS, write_tiny_bundle


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two dates of one place with a hole in each, and another place."""
    folder = tmp_path_factory.mktemp("change")
    write_tiny_bundle(folder / "tiny")
    write_stack(folder / "before.tif", (120, 120), seed=1, hole=(slice(0, 30), slice(0, 30)))
    write_stack(folder / "after.tif", (120, 120), seed=2, hole=(slice(60, 90), slice(60, 90)))
    write_stack(folder / "elsewhere.tif", (120, 120), epsg=32655)
    assert run("predict", folder / "tiny", "--change", folder / "before.tif", folder / "after.tif",
               "--out", folder / "change.tif") == 0  # fmt: skip
    return folder


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def test_change_is_what_the_two_maps_say_pixel_by_pixel(place):
    changed, before, after = read(place / "change.tif")
    np.testing.assert_array_equal(before, read(place / "change.before.tif")[0])
    np.testing.assert_array_equal(after, read(place / "change.after.tif")[0])
    known = (before != 255) & (after != 255)
    assert (changed[~known] == 255).all()
    np.testing.assert_array_equal(changed[known], (before != after)[known])
    assert not known[:30, :30].any()
    assert not known[60:90, 60:90].any()


def test_the_table_counts_every_pair_of_classes(place):
    _, before, after = read(place / "change.tif")
    record = json.loads((place / "change.change.json").read_text())
    for i, old in enumerate(LABELS.codes):
        for j, new in enumerate(LABELS.codes):
            assert record["pixels_before_after"][i][j] == int(((before == old) & (after == new)).sum())
    assert sum(each["pixels"] for each in record["changed"]) == int(
        ((before != after) & (before != 255) & (after != 255)).sum()
    )


def test_a_scene_and_itself_have_not_changed(place, tmp_path, capsys):
    scene = place / "before.tif"
    assert run("predict", place / "tiny", "--change", scene, scene, "--out", tmp_path / "none.tif") == 0
    assert "0.00% of the ground" in capsys.readouterr().out
    assert set(np.unique(read(tmp_path / "none.tif")[0])) == {0, 255}


def test_places_that_share_no_ground_are_refused(place, tmp_path, capsys):
    two = (place / "before.tif", place / "elsewhere.tif")
    assert run("predict", place / "tiny", "--change", *two, "--out", tmp_path / "none.tif") == 2
    assert "share no measured ground" in capsys.readouterr().err
    assert not (tmp_path / "none.tif").exists()


def test_change_needs_two_scenes(place, tmp_path, capsys):
    assert run("predict", place / "tiny", "--change", place / "before.tif", "--out", tmp_path / "c.tif") == 2
    assert "takes two scenes" in capsys.readouterr().err
