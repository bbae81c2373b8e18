"""Stacks in degrees that copy a sensor's samples, against the samples that they copy."""

from contextlib import closing

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import calculate_default_transform, reproject
from rasterio.warp import transform as transform_points

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.classes.taxonomy import Taxonomy
from bandloom.shards.labels.label_mask import LabelMask
from bandloom.shards.labels.reading import Ground, LabelReading
from bandloom.shards.scenes import open_scene
from bandloom.shards.scenes.cloud import RasterCloud
from bandloom.shards.scenes.grid import frame_of
from tests.shards.conftest import L1C

SIDE_M = 4800
GSD_M = {"B01": 60, "B09": 60, "B10": 60} | dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20)
TWO = LabelSet(
    "two",
    tuple(LabelClass(code, name, colour) for code, name, colour in ((1, "west", "#000000"), (2, "east", "#ffffff"))),
)
PLACES = {  # zone, corner on Sentinel-2's grid: well inside; south of the equator; beyond the zone's own edge
    "north": (32632, (600_000, 5_400_000)),
    "south": (32732, (600_000, 10_000_000 - 45_000 * 60)),
    "next zone": (32632, (780_000, 4_500_000)),
}


def measured(seed=0):
    """Return random samples of every band on its own grid, ``{band: (H, W)}``."""
    rng = np.random.default_rng(seed)
    sides = {name: SIDE_M // GSD_M.get(name, 10) for name in L1C}
    samples = {name: rng.integers(1010, 4000, (side, side), dtype=np.uint16) for name, side in sides.items()}
    return samples | {"B10": rng.integers(1002, 1030, (SIDE_M // 60, SIDE_M // 60), dtype=np.uint16)}


def in_degrees(samples, zone, corner):
    """Copy to each pixel of a grid in degrees the samples its centre lies in; returns ``(13, H, W)`` and the transform.

    GDAL's own warp is up to an eighth of a pixel off, and so no oracle.
    """
    transform, width, height = grid_in_degrees(zone, corner)
    x, y = transform @ tuple(each.ravel() + 0.5 for each in np.mgrid[:height, :width][::-1])
    eastings, northings = (np.array(coordinates) for coordinates in transform_points("EPSG:4326", zone, x, y))
    pixels = np.zeros((len(L1C), height * width), np.uint16)
    for plane, (name, band) in zip(pixels, samples.items(), strict=True):
        gsd_m = GSD_M.get(name, 10)
        column, row = ((each // gsd_m).astype(int) for each in (eastings - corner[0], corner[1] - northings))
        inside = (column >= 0) & (column < band.shape[1]) & (row >= 0) & (row < band.shape[0])
        plane[inside] = band[row[inside], column[inside]]
    return pixels.reshape(-1, height, width), transform


def warped_by_gdal(samples, zone, corner, resampling):
    """Return what GDAL's warp with its default tolerance makes of the samples, and the transform."""
    transform, width, height = grid_in_degrees(zone, corner)
    pixels = np.zeros((len(L1C), height, width), np.uint16)
    for plane, (name, band) in zip(pixels, samples.items(), strict=True):
        gsd_m = GSD_M.get(name, 10)
        reproject(
            band,
            plane,
            src_transform=from_origin(*corner, gsd_m, gsd_m),
            src_crs=zone,
            dst_transform=transform,
            dst_crs="EPSG:4326",
            resampling=resampling,
        )
    return pixels, transform


def grid_in_degrees(zone, corner):
    """Return transform, width and height of a grid whose pixels are 10 m high."""
    size = (SIDE_M // 10, SIDE_M // 10)
    bounds = (corner[0], corner[1] - SIDE_M, corner[0] + SIDE_M, corner[1])
    return calculate_default_transform(zone, "EPSG:4326", *size, *bounds, resolution=8.983152841195215e-05)


@pytest.mark.parametrize("place", PLACES)
def test_samples_that_a_stack_in_degrees_copies_are_taken_back_as_measured(tmp_path, write_stack, place):
    zone, corner = PLACES[place]
    samples = measured()
    pixels, transform = in_degrees(samples, f"EPSG:{zone}", corner)
    path = write_stack(tmp_path / "geo.tif", pixels, crs="EPSG:4326", transform=transform)

    with open_scene(path) as scene:
        assert scene.provenance["own_samples"] == [10, 20, 60]
        assert scene.crs.to_epsg() == zone
        x, y = scene.transform.c - corner[0], corner[1] - scene.transform.f
        assert (x % 60, y % 60) == (0, 0)
        groups = scene.read((-x, -y, SIDE_M, SIDE_M))
        order = {group.gsd_m: [band.name for band in group.bands] for group in scene.sensor.groups}

    lost = {10: 0.01, 20: 0, 60: 0}  # the pixel at a 10 m sample's centre may be centred beside it
    for gsd_m, most_lost in lost.items():
        inner = slice(120 // gsd_m, -120 // gsd_m)
        wanted = np.stack([samples[name] for name in order[gsd_m]])[:, inner, inner]
        found = groups[gsd_m][:, inner, inner]
        assert (found != wanted).mean() <= most_lost


def test_a_stack_that_was_interpolated_is_warped_as_any_other(tmp_path, write_stack):
    pixels, transform = warped_by_gdal(measured(), "EPSG:32632", PLACES["north"][1], Resampling.bilinear)

    with open_scene(write_stack(tmp_path / "geo.tif", pixels, crs="EPSG:4326", transform=transform)) as scene:
        assert scene.provenance["own_samples"] == []
        assert scene.provenance["warped_from"] == "EPSG:4326"


def test_ground_without_texture_tells_nothing(tmp_path, write_stack):
    samples = {name: np.full_like(band, 1010 if name == "B10" else 1500) for name, band in measured().items()}
    pixels, transform = in_degrees(samples, "EPSG:32632", PLACES["north"][1])

    with open_scene(write_stack(tmp_path / "geo.tif", pixels, crs="EPSG:4326", transform=transform)) as scene:
        assert scene.provenance["own_samples"] == []


def test_bands_in_files_of_their_own_are_taken_back_too(tmp_path):
    pixels, transform = in_degrees(measured(), "EPSG:32632", PLACES["north"][1])
    for name, plane in zip(L1C, pixels, strict=True):
        write_plane(tmp_path / f"{name}.tif", plane, transform)

    with open_scene(tmp_path, offset=-1000) as scene:
        assert scene.provenance["own_samples"] == [10, 20, 60]


def test_a_warp_puts_no_third_code_between_two_of_a_mask(tmp_path):
    transform, width, height = grid_in_degrees("EPSG:32632", PLACES["north"][1])
    write_plane(tmp_path / "mask.tif", np.where(np.indices((height, width))[1] > width // 2, 3, 1), transform)
    with rasterio.open(tmp_path / "mask.tif") as raster:
        frame, warp = frame_of(raster, "mask.tif")
        mask = RasterCloud(raster, "mask.tif", lambda codes: codes[0] == 2)
        mask.place(frame, warp)
        assert not mask.read((0, 0, frame.width_m, frame.height_m)).any()


def write_plane(path, plane, transform):
    """Write one band in degrees."""
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": "EPSG:4326", "transform": transform}
    with rasterio.open(path, "w", height=plane.shape[0], width=plane.shape[1], **profile) as out:
        out.write(plane.astype(np.uint16), 1)


def test_labels_lie_on_the_zone_that_the_scene_was_taken_back_to(tmp_path, write_stack):
    zone, corner = PLACES["next zone"]
    pixels, transform = in_degrees(measured(), f"EPSG:{zone}", corner)
    path = write_stack(tmp_path / "geo.tif", pixels, crs="EPSG:4326", transform=transform)
    codes = 1 + (np.indices(pixels.shape[1:])[1] > pixels.shape[2] // 2)
    write_plane(tmp_path / "labels.tif", codes, transform)

    with open_scene(path) as scene:
        mask = LabelMask(tmp_path / "labels.tif", Ground.of(scene), Taxonomy.of_label_set(TWO), LabelReading())
        with closing(mask) as labels:
            found = labels.read((0, 0, scene.width_m, scene.height_m))
    middle = found[found.shape[0] // 2]
    known = middle[middle != 255]
    assert sorted(set(known.tolist())) == [0, 1]
    assert (np.diff(known.astype(int)) != 0).sum() == 1
