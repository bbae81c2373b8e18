import re

from rasterio.warp import transform

from bandloom.view.ground_map import place_map, places_of, world_map


def square(x_m: float, y_m: float, epsg: int | None = 32633, split: str = "train") -> dict:
    return {"key": f"<{x_m}>", "epsg": epsg, "x_m": x_m, "y_m": y_m, "side_px": 240, "split": split}


def test_samples_that_touch_are_one_place_and_those_far_away_another():
    near = [square(500_000 + 2400 * i, 5_000_000) for i in range(60)]  # a strip of 144 km
    far = [square(900_000, 5_000_000), square(500_000, 5_000_000, epsg=32733)]
    found = places_of([*far, *near, square(0, 0, epsg=None)])
    assert [len(place.squares) for place in found] == [60, 1, 1]
    assert [number for number, _ in found[0].squares] == list(range(2, 62))


def test_a_place_knows_where_it_lies():
    (place,) = places_of([square(500_000, 5_000_000)])
    (x,), (y,) = transform("EPSG:32633", "EPSG:4326", [501_200], [4_998_800])[:2]
    assert place.centre == (x, y)
    assert place.extent_m == (500_000, 4_997_600, 502_400, 5_000_000)


def test_squares_lie_as_they_do_on_the_ground_and_lead_to_their_pictures():
    (place,) = places_of([square(500_000, 5_000_000), square(504_800, 5_002_400, split="test")])
    drawn = place_map(place, {1})
    (x0, y0), (x1, y1) = (tuple(map(float, at)) for at in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"', drawn))
    assert x0 < x1
    assert y0 > y1  # north is up
    assert drawn.count("<a ") == 1
    assert 'href="#s1"' in drawn
    assert "<500000>" not in drawn  # a key is no markup


def test_a_world_map_has_a_dot_a_place():
    found = places_of([square(500_000, 5_000_000), square(900_000, 5_000_000), square(500_000, 5_000_000, epsg=32733)])
    assert world_map(found).count("<circle") == 3
    assert world_map([]) == ""


def test_places_on_both_sides_of_the_antimeridian_lie_near_each_other():
    sides = [
        {"epsg": epsg, "x_m": x, "y_m": 8_100_000.0, "side_px": 240}
        for epsg, x in ((32760, 800_000.0), (32701, 200_000.0))
    ]
    places = places_of(sides)
    assert {place.centre[0] > 0 for place in places} == {True, False}
    drawn = world_map(places)
    dots = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', drawn)]
    assert 0 < abs(dots[0] - dots[1]) < 150, "a third of the drawing, not its whole width"
    ticks = re.findall(r">(\d+(?:\.\d+)?)°([EW]?)<", drawn)
    assert {side for _, side in ticks} >= {"E", "W"}
    assert all(float(value) <= 180 for value, _ in ticks)
