"""Choices among items that are drawn as rectangles, against a raster of the box and every subset of the items."""

import itertools

import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.export.place.choose import choose, cloud_of, polygon_of, told

pytest.importorskip("shapely")
BOX = (10.0, 40.0, 12.0, 41.0)


def item(name, box, cloud=10.0, day="2024-06-01", **facts):
    properties = {"datetime": f"{day}T10:00:00Z", **({} if cloud is None else {"eo:cloud_cover": cloud}), **facts}
    return {"id": name, "geometry": polygon_of(box), "properties": properties}


def names(choice):
    return [one["id"] for one in choice.items]


WEST, EAST = (9.0, 39.0, 11.1, 42.0), (11.0, 39.0, 13.0, 42.0)
ALL = (9.0, 39.0, 13.0, 42.0)


def test_one_item_that_covers_the_box_is_taken_before_clearer_ones_that_do_not():
    choice = choose([item("clear-part", WEST, 0.0), item("cloudy", ALL, 40.0), item("fair", ALL, 20.0)], BOX)
    assert names(choice) == ["fair"]
    assert choice.why == "the least cloudy of 2 items that cover the whole box"
    assert told(choice.items[0]) == "fair  2024-06-01  20.0 % cloud"


def test_a_cloud_cover_that_is_not_stated_counts_as_worst_and_is_said():
    unstated = item("unstated", ALL, None)
    assert names(choose([unstated, item("cloudy", ALL, 99.0)], BOX)) == ["cloudy"]
    choice = choose([unstated], BOX)
    assert names(choice) == ["unstated"]
    assert cloud_of(choice.items[0]) is None
    assert told(choice.items[0]).endswith("cloud not stated")


def test_of_two_copies_of_a_product_the_one_processed_last_is_taken():
    copies = [item(str(year), ALL, 5.0, **{"s2:generation_time": f"{year}-01-01T00:00:00Z"}) for year in (2022, 2024)]
    assert names(choose(copies, BOX)) == ["2024"]
    assert names(choose(copies[::-1], BOX)) == ["2024"]


def test_tiles_of_one_day_go_before_clearer_ones_of_two_days():
    tiles = [
        item("w1", WEST, 1.0, "2024-06-01"),
        item("e2", EAST, 2.0, "2024-06-02"),
        item("w3", WEST, 30.0, "2024-06-03"),
        item("e3", EAST, 10.0, "2024-06-03"),
        item("w4", WEST, 50.0, "2024-06-04"),
        item("e4", EAST, 50.0, "2024-06-04"),
    ]
    choice = choose(tiles, BOX)
    assert sorted(names(choice)) == ["e3", "w3"]
    assert choice.why == (
        "no item covers the box alone; 2 of 2024-06-03 do together, the least cloudy of 2 such day(s)"
    )
    choice = choose(tiles[:2], BOX)
    assert names(choice) == ["w1", "e2"]
    assert "of several days" in choice.why


def test_a_box_that_is_not_covered_is_refused_with_what_is():
    with pytest.raises(SceneError, match=r"the 1 items there and then cover 55% of the box; name a longer --date"):
        choose([item("w", WEST)], BOX)
    with pytest.raises(SceneError, match="cover 0% of the box"):
        choose([item("elsewhere", (50.0, 40.0, 52.0, 41.0))], BOX)
    with pytest.raises(SceneError, match="item broken states no footprint"):
        choose([{"id": "broken", "geometry": None, "properties": {}}], BOX)


def test_a_box_across_the_antimeridian_is_covered_from_both_sides():
    box = (179.0, -1.0, -179.0, 1.0)
    assert names(choose([item("both", (178.0, -2.0, -178.0, 2.0))], box)) == ["both"]
    sides = [item("west", (178.0, -2.0, 180.0, 2.0)), item("east", (-180.0, -2.0, -178.0, 2.0))]
    assert sorted(names(choose(sides, box))) == ["east", "west"]
    beyond = {"type": "Polygon", "coordinates": [[[178, -2], [182, -2], [182, 2], [178, 2], [178, -2]]]}
    assert names(choose([{**sides[0], "id": "beyond 180", "geometry": beyond}], box)) == ["beyond 180"]
    assert polygon_of(box)["type"] == "MultiPolygon"


@pytest.mark.parametrize("seed", range(12))
def test_what_is_chosen_covers_the_box_without_a_needless_item_whenever_any_choice_does(seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 9, (8, 2)) / 4
    items = [
        item(f"i{n}", (9 + x, 39.5 + y / 2, 9 + x + 1.5, 39.5 + y / 2 + 1.0), float(rng.integers(0, 90)), "2024-06-01")
        for n, (x, y) in enumerate(corners.tolist())
    ]
    lon, lat = np.meshgrid(np.arange(10.05, 12, 0.05), np.arange(40.05, 41, 0.05))
    held = {}
    for one in items:
        ring = np.array(one["geometry"]["coordinates"][0])
        held[one["id"]] = (lon > ring[0, 0]) & (lon < ring[1, 0]) & (lat > ring[0, 1]) & (lat < ring[2, 1])

    def covered(some):
        return bool(np.logical_or.reduce([held[name] for name in some]).all()) if some else False

    if not covered(list(held)):
        with pytest.raises(SceneError):
            choose(items, BOX)
        return
    chosen = names(choose(items, BOX))
    assert covered(chosen)
    assert not any(covered(fewer) for fewer in itertools.combinations(chosen, len(chosen) - 1))
