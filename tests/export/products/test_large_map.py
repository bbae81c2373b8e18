"""Acceptance: polygons of a 4,000 x 4,000 map, in a process of their own."""

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from benchmarks.polygons import SIDE_PX, write_ground
from benchmarks.process_peak import run_bandloom

LEAST_HA = 0.25


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return write_ground(tmp_path_factory.mktemp("large") / "map.tif", SIDE_PX)


def polygons(ground, out, *words):
    needed = run_bandloom("polygons", ground, "--out", out, *words)
    meta, _, shapes, values = pyogrio.raw.read(out)
    return needed, shapely.from_wkb(shapes), dict(zip(meta["fields"], values, strict=True))


@pytest.mark.slow
def test_before_smoothing_areas_are_the_rasters_to_the_pixel_within_a_gibibyte(ground, tmp_path):
    needed, shapes, columns = polygons(ground, tmp_path / "out.gpkg", "--least-ha", 0, "--smooth", 0)
    assert needed.mib < 1024
    with rasterio.open(ground) as source:
        counts = np.bincount(source.read(1).ravel(), minlength=9)
    by_class = np.bincount(columns["code"], shapely.area(shapes), 9)
    np.testing.assert_array_equal(np.rint(by_class).astype(int), counts * 100)
    np.testing.assert_allclose(by_class, counts * 100, rtol=1e-12)
    np.testing.assert_allclose(np.bincount(columns["code"], columns["hectares"], 9), counts * 0.01)


@pytest.mark.slow
def test_after_smoothing_there_is_neither_gap_nor_overlap_within_a_gibibyte(ground, tmp_path):
    needed, shapes, columns = polygons(ground, tmp_path / "out.fgb", "--least-ha", LEAST_HA)
    assert needed.mib < 1024
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapes).sum() == pytest.approx((SIDE_PX * 10) ** 2, rel=1e-12)
    assert shapely.coverage_union_all(shapes).equals(shapely.box(*shapely.total_bounds(shapes)))
    assert columns["hectares"].min() > LEAST_HA - 1e-9
    assert columns["hectares"].sum() == pytest.approx(SIDE_PX**2 * 0.01)
