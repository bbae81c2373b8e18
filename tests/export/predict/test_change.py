import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio

from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import LABELS, write_tiny_bundle


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two dates of one place with a hole in each, and another place."""
    folder = tmp_path_factory.mktemp("change")
    write_tiny_bundle(folder / "tiny")
    write_stack(folder / "before.tif", (120, 120), seed=1, hole=(slice(0, 30), slice(0, 30)))
    write_stack(folder / "after.tif", (120, 120), seed=2, hole=(slice(60, 90), slice(60, 90)))
    write_stack(folder / "elsewhere.tif", (120, 120), epsg=32655)
    assert (
        run(
            "predict",
            folder / "tiny",
            "--change",
            folder / "before.tif",
            folder / "after.tif",
            "--out",
            folder / "change.tif",
        )
        == 0
    )
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


def test_a_style_names_what_changed_and_what_did_not(place):
    entries = ElementTree.parse(place / "change.qml").iter("paletteEntry")
    assert {entry.get("value"): entry.get("label") for entry in entries} == {"0": "unchanged", "1": "changed"}


def test_the_item_is_valid_has_the_maps_grid_and_leads_to_both_maps(place):
    pystac = pytest.importorskip("pystac", reason="pystac is not installed; pip install 'bandloom[fetch]'")
    pytest.importorskip("jsonschema", reason="jsonschema is not installed; pip install 'bandloom[dev]'")
    from pystac.validation.local_validator import LocalValidator

    record = json.loads((place / "change.stac.json").read_text())
    assert LocalValidator().item_validator(record["stac_version"]).is_valid(record)
    item = pystac.Item.from_file(str(place / "change.stac.json"))
    with rasterio.open(place / "change.tif") as file:
        assert item.properties["proj:shape"] == list(file.shape)
        np.testing.assert_allclose(item.properties["proj:transform"], list(file.transform)[:6])
    assert {str(link.target).removeprefix("./") for link in item.get_links("derived_from")} == {
        "change.before.stac.json",
        "change.after.stac.json",
    }
    named = [asset.get_absolute_href() for asset in item.assets.values()]
    assert {Path(name).name for name in named} == {"change.tif", "change.qml", "change.change.json"}
    assert all(Path(name).is_file() for name in named)


def test_an_item_that_was_removed_is_said(place, tmp_path, capsys):
    for name in ("change.before.tif", "change.after.tif"):
        shutil.copy(place / name, tmp_path / name)
    two = (place / "before.tif", place / "after.tif")
    assert run("predict", place / "tiny", "--change", *two, "--out", tmp_path / "change.tif") == 2
    assert "change.before.stac.json is missing; remove the map" in capsys.readouterr().err
    assert not (tmp_path / "change.tif").exists()


def test_a_scene_and_itself_have_not_changed(place, tmp_path, capsys):
    scene = place / "before.tif"
    assert run("predict", place / "tiny", "--change", scene, scene, "--out", tmp_path / "none.tif") == 0
    assert "0.00% of the ground" in capsys.readouterr().out
    assert set(np.unique(read(tmp_path / "none.tif")[0])) == {0, 255}


def test_places_that_share_no_ground_are_refused_and_nothing_says_that_there_is_a_map(place, tmp_path, capsys):
    two = (place / "before.tif", place / "elsewhere.tif")
    assert run("predict", place / "tiny", "--change", *two, "--out", tmp_path / "none.tif") == 2
    assert "share no measured ground" in capsys.readouterr().err
    maps = [f"none.{when}.{kind}" for when in ("after", "before") for kind in ("qml", "stac.json", "tif")]
    assert sorted(path.name for path in tmp_path.iterdir()) == maps


def copied(place, tmp_path):
    """What a change map of before and after left, the change map itself removed."""
    for made in place.glob("change.*.*"):
        shutil.copy(made, tmp_path / made.name)
    for name in ("change.change.json", "change.stac.json"):
        (tmp_path / name).unlink(missing_ok=True)
    return {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_maps_left_behind_are_used_for_the_same_scenes_alone(place, tmp_path, capsys):
    left = copied(place, tmp_path)
    kinds = ("qml", "stac.json", "tif")
    assert set(left) == {f"change.{when}.{kind}" for when in ("after", "before") for kind in kinds}
    bundle, out = place / "tiny", tmp_path / "change.tif"
    other = write_tiny_bundle(tmp_path.with_name(f"{tmp_path.name}-other"), seed=7)
    swapped = (place / "after.tif", place / "before.tif")
    for words, why in (
        ((bundle, "--change", *swapped), "change.before.tif is there already, made of another scene"),
        ((bundle, "--change", place / "before.tif", place / "elsewhere.tif"), "change.after.tif is there already"),
        ((other, "--change", *reversed(swapped)), "made by another model"),
        ((bundle, "--change", *reversed(swapped), "--offset", 0), "other options for reading"),
        ((bundle, "--change", *reversed(swapped), "--confidence"), "change.before.confidence.tif is not"),
    ):
        assert run("predict", *words, "--out", out) == 2
        assert why in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == left
    assert run("predict", bundle, "--change", *reversed(swapped), "--out", out) == 0
    assert capsys.readouterr().out.count("there already, left alone") == 2
    np.testing.assert_array_equal(read(out), read(place / "change.tif"))


@pytest.mark.parametrize("name", ["change.qml", "change.stac.json", "change.change.json"])
def test_somebodys_file_beside_the_map_is_not_replaced(place, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    two = (place / "before.tif", place / "after.tif")
    assert run("predict", place / "tiny", "--change", *two, "--out", tmp_path / "change.tif") == 2
    assert f"{name} exists already" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_change_needs_two_scenes(place, tmp_path, capsys):
    assert run("predict", place / "tiny", "--change", place / "before.tif", "--out", tmp_path / "c.tif") == 2
    assert "takes two scenes" in capsys.readouterr().err
