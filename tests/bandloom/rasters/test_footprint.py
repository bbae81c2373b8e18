import itertools

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform

from bandloom.rasters.footprint import bbox_of, footprint

shapely = pytest.importorskip("shapely")
UTM60, UTM1, ANTARCTIC = (CRS.from_epsg(code) for code in (32760, 32601, 3031))
TURNED = Affine.translation(500_000, 6_000_000) @ Affine.rotation(30) @ Affine.scale(10, -10)


def ground(crs, placing, shape, points=400):
    """Longitudes and latitudes of points spread over a raster, one pixel inside its edge."""
    rng = np.random.default_rng(0)
    columns, rows = 1 + rng.random(points) * (shape[1] - 2), 1 + rng.random(points) * (shape[0] - 2)
    x, y = placing @ (columns, rows)
    longitudes, latitudes, *_ = transform(crs, "EPSG:4326", x, y)
    return (np.array(longitudes) + 180) % 360 - 180, np.array(latitudes)


@pytest.mark.parametrize(
    ("crs", "placing", "shape", "kind"),
    [
        (CRS.from_epsg(32633), from_origin(500_040, 5_300_040, 10, 10), (96, 108), "Polygon"),
        (CRS.from_epsg(32632), TURNED, (500, 300), "Polygon"),
        (CRS.from_epsg(32633), Affine(10, 0, 4e5, 0, 10, 5e6), (1000, 1000), "Polygon"),  # upside down
        (UTM60, from_origin(800_000, 8_200_000, 10, 10), (3000, 3000), "MultiPolygon"),
        (UTM1, from_origin(320_000, 7_500_000, 60, 60), (1830, 1830), "MultiPolygon"),
        (CRS.from_epsg(4326), from_origin(179.5, 10, 0.001, 0.001), (1000, 1000), "MultiPolygon"),
        (CRS.from_epsg(4326), from_origin(190, 10, 0.001, 0.001), (1000, 1000), "Polygon"),
        (CRS.from_epsg(4326), from_origin(-180, 90, 1, 1), (180, 360), "Polygon"),
        (CRS.from_epsg(3832), from_origin(3_200_000, 2e6, 1000, 1000), (100, 600), "MultiPolygon"),
        (ANTARCTIC, from_origin(-3e5, 4e5, 1000, 1000), (700, 800), "Polygon"),
        (CRS.from_epsg(3413), from_origin(-3e5, 4e5, 1000, 1000), (700, 800), "Polygon"),
        (ANTARCTIC, from_origin(-3e5, -1e5, 1000, 1000), (700, 600), "MultiPolygon"),
    ],
)
def test_a_footprint_holds_the_rasters_ground_and_little_more(crs, placing, shape, kind):
    found = footprint(crs, placing, shape)
    shape_of = shapely.geometry.shape(found)
    assert found["type"] == kind
    assert shape_of.is_valid
    longitudes, latitudes = ground(crs, placing, shape)
    assert shapely.contains_xy(shape_of, longitudes, latitudes).mean() > 0.99
    # and points of the footprint lie on the raster
    rng, (west, south, east, north) = np.random.default_rng(1), shape_of.bounds
    x, y = rng.uniform(west, east, 20_000), rng.uniform(south, north, 20_000)
    inside = shapely.contains_xy(shape_of, x, y)
    columns, rows = ~placing @ tuple(map(np.array, transform("EPSG:4326", crs, x[inside], y[inside])[:2]))
    if crs.is_geographic and placing.c >= 180 - shape[1] * placing.a:
        columns = columns % (360 / placing.a)
    margin = 0.02 * max(shape)
    on = (columns > -margin) & (columns < shape[1] + margin) & (rows > -margin) & (rows < shape[0] + margin)
    assert on.mean() > 0.99


@pytest.mark.parametrize("x_m", [700_000, 760_000, 790_000])
def test_no_edge_runs_around_the_earth_and_rings_run_counter_clockwise(x_m):
    found = footprint(UTM60, from_origin(x_m, 8_200_000, 10, 10), (3000, 6000))
    polygons = found["coordinates"] if found["type"] == "MultiPolygon" else [found["coordinates"]]
    for (ring,) in polygons:
        assert ring[0] == ring[-1]
        assert max(abs(a[0] - b[0]) for a, b in itertools.pairwise(ring)) < 1
        assert shapely.geometry.LinearRing(ring).is_ccw


def test_the_box_of_ground_across_the_antimeridian_has_its_west_in_the_east():
    west, south, east, north = bbox_of(footprint(UTM60, from_origin(800_000, 8_200_000, 10, 10), (3000, 3000)))
    assert 179 < west < 180
    assert -180 < east < -179
    assert south < north < 0
    west, south, east, north = bbox_of(footprint(ANTARCTIC, from_origin(-3e5, 4e5, 1000, 1000), (700, 800)))
    assert (west, south, east) == (-180, -90, 180)
    assert -88 < north < -80


def test_an_edge_in_utm_follows_its_curve_in_degrees():
    found = footprint(CRS.from_epsg(32633), from_origin(199_980, 8_000_040, 10, 10), (10980, 10980))
    ring = shapely.geometry.Polygon(found["coordinates"][0])
    x = np.linspace(199_980, 309_780, 500)
    longitudes, latitudes, *_ = transform("EPSG:32633", "EPSG:4326", x, np.full(500, 8_000_040.0))
    far_m = [
        ring.exterior.distance(shapely.geometry.Point(p)) * 111_320 for p in zip(longitudes, latitudes, strict=True)
    ]
    assert max(far_m) < 2
