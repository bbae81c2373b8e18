import subprocess
import sys

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.errors import SceneError, SensorError
from bandloom.sensors import get_sensor
from bandloom.shards.scenes import Scene, open_scene
from bandloom.shards.scenes.grid import block_means

WHOLE = (0, 0, 1080, 960)


def test_a_stack_gives_native_groups_in_sensor_order_by_block_means(tmp_path, write_stack):
    path = write_stack(tmp_path / "stack.tif")
    with rasterio.open(path) as raster:
        stored = raster.read()
    with open_scene(path) as scene:
        assert isinstance(scene, Scene)
        groups = scene.read(WHOLE)
    assert {g: a.shape for g, a in groups.items()} == {10: (4, 96, 108), 20: (6, 48, 54), 60: (3, 16, 18)}
    np.testing.assert_array_equal(groups[10], stored[[1, 2, 3, 7]])
    means = stored[[0, 9, 10]].reshape(3, 16, 6, 18, 6).mean((2, 4))
    np.testing.assert_allclose(groups[60], means, atol=0.5)


@pytest.mark.parametrize(("factor", "gsd_m"), [(2, 20), (6, 60)])
def test_block_means_undo_nearest_neighbour_copies_exactly(factor, gsd_m):
    native = np.random.default_rng(0).integers(1, 65535, (3, 20, 16), dtype=np.uint16)
    np.testing.assert_array_equal(block_means(native.repeat(factor, 1).repeat(factor, 2), factor), native)


def test_block_means_leave_absent_and_saturated_samples_out():
    block = np.array([[[1000, 0], [65535, 2001]]], np.uint16)
    assert block_means(block, 2).item() == 1501
    assert block_means(np.zeros((1, 2, 2), np.uint16), 2).item() == 0


def test_windows_beyond_the_edge_are_absent_there(tmp_path, write_stack):
    with open_scene(write_stack(tmp_path / "stack.tif")) as scene:
        groups = scene.read((-60, 840, 240, 240))
    assert (groups[10][:, :, :6] == 0).all()
    assert (groups[10][:, 12:] == 0).all()
    assert (groups[10][:, :12, 6:] > 0).all()


def test_a_scene_of_odd_size_keeps_the_samples_of_its_last_row(tmp_path, write_stack):
    pixels = np.full((13, 100, 100), 1500, np.uint16)
    pixels[10] = 1010
    with open_scene(write_stack(tmp_path / "odd.tif", pixels)) as scene:
        groups = scene.read((0, 0, 1020, 1020))
    assert (scene.width_m, scene.height_m) == (1000, 1000)
    assert groups[60].shape == (3, 17, 17)
    assert groups[60][0, 16, 16] == 1500
    assert (groups[10][:, 100:] == 0).all()


def test_old_products_without_the_offset_get_it_once(tmp_path, write_stack):
    pixels = np.full((13, 60, 60), 700, np.uint16)
    pixels[10], pixels[1, 0, 0], pixels[1, 0, 1] = 12, 0, 65535
    for tags in ({"RADIO_ADD_OFFSET": "0"}, {}):
        with open_scene(write_stack(tmp_path / f"old{len(tags)}.tif", pixels, tags=tags)) as scene:
            blue = scene.read((0, 0, 600, 600))[10][0]
        assert blue[0].tolist()[:3] == [0, 65535, 1700]
        assert scene.provenance["offset"] == 0
    assert "B10" in scene.provenance["offset_from"]


def test_an_offset_that_the_pixels_contradict_is_refused(tmp_path, write_stack):
    pixels = np.full((13, 60, 60), 700, np.uint16)
    pixels[10] = 12
    with pytest.raises(SceneError, match=r"RADIO_ADD_OFFSET -1000.*\+1000 offset is missing.*--offset 0"):
        open_scene(write_stack(tmp_path / "a.tif", pixels))
    with pytest.raises(SceneError, match=r"still in.*--offset -1000"):
        open_scene(write_stack(tmp_path / "b.tif", pixels + 1000, tags={"RADIO_ADD_OFFSET": "0"}))
    l2a = tuple(name for name in get_sensor("sentinel2-l2a").slots)
    with pytest.raises(SceneError, match=r"below -0\.05.*missing"):
        open_scene(write_stack(tmp_path / "c.tif", np.full((12, 60, 60), 300, np.uint16), names=l2a))


def test_surface_reflectance_that_does_not_say_its_offset_is_asked_for(tmp_path, write_stack):
    l2a = get_sensor("sentinel2-l2a").slots
    path = write_stack(tmp_path / "l2a.tif", np.full((12, 60, 60), 1700, np.uint16), names=l2a, tags={})
    with pytest.raises(SceneError, match="pass --offset -1000"):
        open_scene(path)
    with open_scene(path, offset=0) as scene:
        assert scene.sensor.name == "sentinel2-l2a"
        assert scene.read((0, 0, 60, 60))[10][0, 0, 0] == 2700


def test_bands_are_never_guessed_from_their_count(tmp_path, write_stack):
    path = write_stack(tmp_path / "bare.tif", names=None, pixels=np.full((13, 60, 60), 1010, np.uint16))
    with pytest.raises(SceneError, match=r"13 bands and does not describe them.*--band-order"):
        open_scene(path)
    with open_scene(path, band_map="eurosat") as scene:
        assert scene.sensor.name == "sentinel2-l1c"
    with pytest.raises(SceneError, match=r"order 'eurosatt' is not known.*'eurosat'"):
        open_scene(path, band_map="eurosatt")


def test_eurosat_order_takes_the_last_band_for_b8a(tmp_path, write_stack):
    pixels = np.stack([np.full((60, 60), 2000 + k, np.uint16) for k in range(13)])
    pixels[9] = 1010  # B10 is the tenth there
    with open_scene(write_stack(tmp_path / "e.tif", pixels, names=None, tags={}), band_map="eurosat") as scene:
        groups = scene.read((0, 0, 60, 60))
    assert groups[20][:, 0, 0].tolist() == [2004, 2005, 2006, 2012, 2010, 2011]  # B05 B06 B07 B8A B11 B12
    assert groups[60][:, 0, 0].tolist() == [2000, 2008, 1010]


def test_a_missing_band_an_unknown_band_and_an_unknown_sensor_are_named(tmp_path, write_stack):
    L1C = get_sensor("sentinel2-l1c").slots

    twelve = write_stack(tmp_path / "12.tif", np.full((12, 60, 60), 1010, np.uint16), names=L1C[:-1])
    with pytest.raises(SceneError, match=r"12 bands .*without B12"):
        open_scene(twelve)
    with pytest.raises(SceneError, match=r"12 bands where sensor 'sentinel2-l1c' needs 13: B12 missing"):
        open_scene(twelve, sensor="sentinel2-l1c")
    with pytest.raises(SensorError, match=r"'sentinel2-l1x' is not known.*Did you mean 'sentinel2-l1c'"):
        open_scene(twelve, sensor="sentinel2-l1x")
    odd = write_stack(tmp_path / "odd.tif", np.full((14, 60, 60), 1010, np.uint16), names=(*L1C, "B13"))
    with pytest.raises(SensorError, match="a band 'B13'"):
        open_scene(odd, sensor="sentinel2-l1c")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda p: (p / 10000).astype(np.float32), "floats .*look like reflectances of 0..1.*uint16"),
        (lambda p: np.where(p > 1500, np.nan, p).astype(np.float32), "holds floats from 1010 to 1500"),
        (lambda p: np.zeros_like(p), "all nodata"),
        (lambda p: p.astype(np.uint8), "bytes"),
        (lambda p: p[:, :5, :5], "smaller than a token"),
    ],
)
def test_values_that_are_no_digital_numbers_are_refused(tmp_path, write_stack, change, sentence):
    rng = np.random.default_rng(0)

    with pytest.raises(SceneError, match=sentence):
        open_scene(write_stack(tmp_path / "bad.tif", change(rng.integers(1010, 3000, (13, 60, 60), dtype=np.uint16))))


def test_files_that_are_no_rasters_are_refused(tmp_path, write_stack):
    (tmp_path / "empty.tif").touch()
    with pytest.raises(SceneError, match="is empty"):
        open_scene(tmp_path / "empty.tif")
    with pytest.raises(SceneError, match="does not exist"):
        open_scene(tmp_path / "absent.tif")
    with pytest.raises(SceneError, match="no coordinate system"):
        open_scene(write_stack(tmp_path / "nocrs.tif", crs=None))
    whole = write_stack(tmp_path / "whole.tif").read_bytes()
    for share in (0.01, 0.5, 0.9):
        cut = tmp_path / "cut.tif"
        cut.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SceneError, match="truncated"), open_scene(cut) as scene:
            scene.read(WHOLE)


def test_a_geographic_stack_is_warped_to_utm_once_and_says_so(tmp_path, write_stack):
    pixels = np.full((13, 120, 90), 1500, np.uint16)
    pixels[10] = 1012
    transform = from_origin(9.0, 50.0, 0.00014, 0.00009)
    with open_scene(write_stack(tmp_path / "geo.tif", pixels, crs="EPSG:4326", transform=transform)) as scene:
        assert scene.crs.to_epsg() == 32632
        assert scene.provenance["warped_from"] == "EPSG:4326"
        assert scene.transform.c % 60 == 0
        assert scene.transform.f % 60 == 0
        groups = scene.read((0, 0, scene.width_m, scene.height_m))
    assert set(np.unique(groups[20])) <= {0, 1500}
    assert (groups[10] > 0).mean() > 0.8
    west, south, east, north = scene.footprint
    assert west <= 9.0 + 1e-3
    assert north >= 50.0 - 1e-3
    assert south < north
    assert west < east


def test_a_folder_of_bands_is_read_on_its_own_grids(synthetic):
    folder = sorted((synthetic / "scenes").iterdir())[0]
    with open_scene(folder) as scene:
        assert (scene.name, scene.sensor.name, scene.width_m) == ("scene_00000", "sentinel2-l1c", 2400)
        assert scene.datetime is not None
        groups, cloud = scene.read((600, 1200, 600, 600)), scene.cloud((600, 1200, 600, 600))
    with rasterio.open(folder / "B11.tif") as raster:
        np.testing.assert_array_equal(groups[20][4], raster.read(1)[60:90, 30:60])
    assert cloud.shape == (60, 60)


def test_reading_scenes_imports_no_torch_blosc2_or_webdataset():
    heavy = "('torch', 'blosc2', 'webdataset', 'xxhash')"
    code = f"import sys, bandloom.shards.scenes; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("path", "options", "sensor", "metres"),
    [
        ("lulc_seg/282D_485L_3_3/S2L1C.tif", {}, "sentinel2-l1c", (2240, 1600)),
        ("lulc_seg/38D_378R_2_3/S2L1C.tif", {}, "sentinel2-l1c", (2240, 2240)),
        ("flood_seg/Spain_7370579/S2Hand.tif", {}, "sentinel2-l1c", (2220, 5220)),
        ("water_timeseries_boadella/Boadella_2020-06-21.tif", {"offset": 0}, "sentinel2-l2a", (3900, 3840)),
        ("eurosat_ms/Forest/Forest_1.tif", {"band_map": "eurosat"}, "sentinel2-l1c", (640, 640)),
        ("unlabelled/ssl4eo_s12/s2c/20200604T054639_20200604T054831_T43RCP", {}, "sentinel2-l1c", (2700, 2700)),
        (
            "unlabelled/bigearthnet_v2/S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_75_43",
            {"offset": 0},
            "sentinel2-l2a",
            (1200, 1200),
        ),
        (
            "unlabelled/ssl4eo_s12/s2a/20200604T054639_20200604T054831_T43RCP",
            {"offset": 0},
            "sentinel2-l2a",
            (2700, 2700),
        ),
        ("unlabelled/baltic_l2a_chips128/ship_209075000_2022-08-12.tif", {"offset": 0}, "sentinel2-l2a", None),
        ("lulc_sparse_amazon_sen2/S2L2A.tif", {}, "sentinel2-l2a", (2520, 2400)),
    ],
)
def test_real_scenes_open_and_hold_plausible_reflectance(real, path, options, sensor, metres):
    with open_scene(real / path, **options) as scene:
        assert scene.sensor.name == sensor
        assert metres in (None, (scene.width_m, scene.height_m))
        groups = scene.read((0, 0, 1200, 1200))
    for pixels in groups.values():
        assert 900 < np.median(pixels[pixels > 0]) < 9000


def test_a_real_stack_of_nearest_copies_comes_back_as_its_native_samples(real):
    path = real / "lulc_seg/38D_378R_2_3/S2L1C.tif"
    with open_scene(path) as scene, rasterio.open(path) as raster:
        native = scene.read((0, 0, 2220, 2220))[60]
        stored = raster.read([1, 10, 11])[:, :222, :222] + 1000
    copied = stored[:, ::6, ::6] == stored[:, 5::6, 5::6]  # blocks whose corners agree are copies
    assert copied.mean() > 0.3
    blocks = stored.reshape(3, 37, 6, 37, 6)
    flat = (blocks.max((2, 4)) == blocks.min((2, 4))).nonzero()
    np.testing.assert_array_equal(native[flat], stored[:, ::6, ::6][flat])
