"""The heading of a page says what the map is."""

import json

import pytest

from bandloom.view.headline import about, title_of

SCENE = {"SCENE": "S2A_T48QUE", "SENSOR": "sentinel2-l1c", "BUNDLE": "demo", "TIFFTAG_DATETIME": "2024:05:03 03:04:05"}


@pytest.mark.parametrize(
    ("tags", "label_set", "title"),
    [
        (SCENE, "land_cover", "Land cover of S2A_T48QUE"),
        (SCENE, None, "Classes of S2A_T48QUE"),
        ({}, "change", "a_map"),
        ({"BEFORE": json.dumps(SCENE), "AFTER": json.dumps({"SCENE": "b"})}, "x", "What changed from S2A_T48QUE to b"),
        ({"BEFORE": "no record", "AFTER": "[]"}, "x", "What changed from an unnamed scene to an unnamed scene"),
    ],
)
def test_the_title_names_classes_and_scene(tags, label_set, title):
    assert title_of(tags, label_set, "a_map") == title


def test_the_facts_are_those_that_are_known():
    assert about(SCENE, "map.tif") == "3 May 2024 \u00b7 sentinel2-l1c \u00b7 mapped by demo \u00b7 map.tif"
    assert about({"TIFFTAG_DATETIME": "yesterday"}, "map.tif") == "map.tif"
    assert about({"TIFFTAG_DATETIME": "2024:05:03 03:04:05"}, "map.tif") == "map.tif", "when a file was written"
    assert about({"ACQUISITION_DATETIME": "2024-05-03T03:04:05+00:00"}, "a.tif") == "3 May 2024 \u00b7 a.tif"
    assert about({"AFTER": json.dumps(SCENE)}, "c.tif") == "sentinel2-l1c \u00b7 c.tif"
