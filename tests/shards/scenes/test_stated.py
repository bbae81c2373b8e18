"""How values become reflectance: what tags, products and users state, and what no ground reflects."""

import logging
import re

import numpy as np
import pytest
import rasterio

from bandloom.errors import SceneError
from bandloom.rasters.values import dn_to_reflectance
from bandloom.sensors import get_sensor
from bandloom.shards.scenes import open_scene
from bandloom.shards.scenes.cloud import scl_cloud
from tests.shards.conftest import L1C

L2A = get_sensor("sentinel2-l2a").slots
GROUND = (0.01, 0.5)  # reflectance


def ground(bands=12, seed=0):
    """Reflectance of some ground, not the same in any two bands, dark in the first corner as water is."""
    rng = np.random.default_rng(seed)
    return rng.uniform(*GROUND, (bands, 60, 60)).round(4)


@pytest.fixture
def stack(tmp_path, write_stack):
    """Write values of 12 bands with scale and offset tags."""

    def write(values, scale=None, offset=0.0, names=L2A, **options):
        path = write_stack(tmp_path / "stack.tif", values, names=names, tags=options.pop("tags", {}), **options)
        if scale is not None:
            with rasterio.open(path, "r+") as raster:
                raster.scales, raster.offsets = [scale] * raster.count, [offset] * raster.count
        return path

    return write


def blue_of(path, **options):
    with open_scene(path, **options) as scene:
        return dn_to_reflectance(scene.read((0, 0, 600, 600))[10][0]), scene.provenance


@pytest.mark.parametrize(
    ("dtype", "scale", "offset", "by"),
    [
        ("uint16", 0.0001, -0.1, "offset_from"),
        ("uint16", 0.0001, 0.0, "offset_from"),
        ("int16", 0.0001, 0.0, "offset_from"),
        ("uint16", 0.00005, 0.0, "scale_from"),
        ("uint16", 2.75e-5, -0.2, "scale_from"),
        ("uint16", 0.01, 0.0, "scale_from"),
        ("uint8", 0.004, 0.0, "scale_from"),
        ("float32", 0.01, 0.0, "scale_from"),
    ],
)
def test_scale_and_offset_tags_are_taken_and_named(stack, dtype, scale, offset, by):
    stored = np.rint((ground() - offset) / scale).astype(dtype)
    found, provenance = blue_of(stack(stored, scale, offset))
    np.testing.assert_allclose(found, stored[1] * scale + offset, atol=6e-5)
    assert provenance[by] == "the file's scale and offset tags"


@pytest.mark.parametrize(("scale", "offset"), [(0.0, 0.0), (-1e-4, 0.0), (np.nan, 0.0), (np.inf, 0.0), (1e-4, np.nan)])
def test_a_scale_tag_that_makes_no_reflectance_is_refused(stack, scale, offset):
    path = stack(np.rint(ground() * 1e4).astype("uint16"), scale, offset)
    with pytest.raises(SceneError, match=r"which makes no reflectance; mend the tags .* or pass --scale"):
        open_scene(path)
    np.testing.assert_allclose(blue_of(path, scale="1e-4")[0], ground()[1], atol=6e-5)


def test_tags_that_contradict_each_other_or_the_user_are_refused(stack):
    path = stack(np.rint(ground() / 5e-5).astype("uint16"), 0.00005)
    np.testing.assert_allclose(blue_of(path, offset=0)[0], ground()[1], atol=6e-5)  # both say that nothing is added
    with pytest.raises(SceneError, match=r"states scale 5e-05 .* offset of -1000 .*--scale GAIN,OFFSET"):
        open_scene(path, offset=-1000)
    path = stack(np.rint(ground() * 1e4).astype("uint16"), 0.0001, tags={"RADIO_ADD_OFFSET": "-1000"})
    with pytest.raises(SceneError, match=r"scale 0\.0001 and offset 0 and RADIO_ADD_OFFSET -1000, which contradict"):
        open_scene(path)
    with rasterio.open(path, "r+") as raster:
        raster.scales = [0.0001] * 11 + [1.0]
    with pytest.raises(SceneError, match=r"a scale for some bands .* none for B12"):
        open_scene(path)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (lambda r: r.astype("float32"), "1"),
        (lambda r: np.where(r < 0.02, np.nan, r).astype("float64"), "1"),
        (lambda r: np.rint(r * 100).astype("uint8"), "0.01"),
        (lambda r: np.rint(r * 1e3).astype("int16"), "0.001"),
        (lambda r: np.rint((r + 0.2) / 2.75e-5).astype("uint16"), "2.75e-5,-0.2"),
        (lambda r: np.rint((r + 0.1) * 1e4).astype("int32"), "0.0001,-0.1"),
    ],
)
def test_what_the_user_says_of_the_scale_is_taken(stack, values, scale):
    stored = values(ground())
    gain, offset = (*(float(part) for part in scale.split(",")), 0.0)[:2]
    found, provenance = blue_of(stack(stored), scale=scale)
    np.testing.assert_allclose(found, np.where(stored[1] == 0, np.nan, stored[1] * gain + offset), atol=6e-5)
    assert provenance["scale_from"] == "--scale"


@pytest.mark.parametrize(
    ("values", "options", "sentence"),
    [
        (lambda r: np.rint(r * 100), {"offset": 0}, r"reflect 0\.000.* so dark in every band: are they percent"),
        (lambda r: np.rint(r / r.max() * 255), {"offset": 0}, r"--offset, and no ground is so dark in every band"),
        (lambda r: np.rint((r + 0.2) / 2.75e-5), {"offset": 0}, r"reflect 0\.\d+ to .*no ground does.*--scale GAIN"),
        (lambda r: np.rint(r * 8e4), {"offset": 0}, r"median 2\.\d+.*no ground does"),
        (lambda r: np.rint(r * 1e3), {"offset": -1000}, r"median -0\.07.*do not carry \+1000; pass --offset 0"),
        (lambda r: np.rint(r * 1e4), {"scale": "1"}, r"taken by --scale, which no ground does"),
    ],
)
def test_values_that_no_ground_reflects_are_refused_with_their_numbers(stack, values, options, sentence):
    stored = values(ground()).astype("uint16")
    with pytest.raises(SceneError, match=sentence):
        open_scene(stack(stored), **options)


def test_the_advice_for_floats_and_for_percent_leads_to_the_right_values(stack):
    path = stack(ground().astype("float32"))
    with pytest.raises(SceneError, match=r"pass --scale 1 if they are"):
        open_scene(path)
    np.testing.assert_allclose(blue_of(path, scale="1")[0], ground()[1], atol=6e-5)
    path = stack(np.rint(ground() * 100).astype("uint16"))
    with pytest.raises(SceneError, match=r"--scale 0\.01 for percent"):
        open_scene(path, offset=0)
    stored = np.rint(ground() * 100)[1]
    np.testing.assert_allclose(blue_of(path, scale="0.01")[0], np.where(stored, stored / 100, np.nan), atol=6e-5)


@pytest.mark.parametrize(
    ("value", "dtype", "scale"),
    [
        (-2147483648, "int32", "1e-4"),
        (-9999999, "int32", "1e-4"),
        (-1234567.25, "float64", "1e-4"),
        (np.finfo("float32").min, "float32", "1"),
        (np.float32(-1e20), "float32", "1"),
    ],
)
def test_the_nodata_that_is_advised_finds_every_sample_that_holds_it(stack, value, dtype, scale):
    hole = np.s_[:, 3:20, 5:30]
    stored = (np.rint(ground() / float(scale)) if dtype == "int32" else ground() / float(scale)).astype(dtype)
    stored[hole] = value
    path = stack(stored)
    with pytest.raises(SceneError, match=r"--nodata \S+ if it stands for absent") as refused:
        open_scene(path, scale=scale)
    advised = re.search(r"pass --nodata (\S+) if", str(refused.value))[1]
    with open_scene(path, scale=scale, nodata=advised) as scene:
        read = scene.read((0, 0, 600, 600))[10][0] > 0
    assert (read == (stored[1] != value)).all()
    with pytest.raises(SceneError, match=r"which no ground reflects and --nodata -7\.0 does not name"):
        open_scene(path, scale=scale, nodata="-7")


@pytest.mark.parametrize("value", [-9999, -32768, -3000, -2000])
@pytest.mark.parametrize("where", [np.s_[:, :6], np.s_[:7, :7], np.s_[3:5, 50:53]])
def test_nodata_whose_tag_is_lost_is_asked_for_and_then_absent(stack, value, where):
    stored = np.rint(ground() * 1e4).astype("int16")
    stored[(slice(None), *where)] = value
    path = stack(stored)
    with pytest.raises(SceneError, match=rf"holds {value} in .*--nodata {value} if it stands for absent"):
        open_scene(path, offset=0)
    found, _ = blue_of(path, offset=0, nodata=str(value))
    np.testing.assert_allclose(found, np.where(stored[1] == value, np.nan, stored[1] / 1e4), atol=6e-5)


@pytest.mark.parametrize(("value", "dtype"), [(9999, "uint16"), (32767, "int16"), (1, "uint16"), (-1, "int16")])
def test_a_constant_border_that_no_tag_explains_is_asked_for(stack, value, dtype):
    stored = np.rint(ground() * 1e4).astype(dtype)
    stored[:, :, 50:] = value
    with pytest.raises(SceneError, match=rf"holds {value} in 16\.7%.*--nodata none if it was measured"):
        open_scene(stack(stored), offset=0)
    assert np.isnan(blue_of(stack(stored), offset=0, nodata=value)[0][:, 50:]).all()
    measured = blue_of(stack(stored), offset=0, nodata="none")[0][:, 50:]
    np.testing.assert_allclose(measured, value / 1e4, atol=6e-5)


def test_lost_nodata_that_a_thinned_look_misses_stops_the_reading(tmp_path, write_stack):
    stored = np.full((12, 1200, 1200), 900, "int16") + np.arange(1200, dtype="int16")
    stored[:, 301, 303] = -9999
    path = write_stack(tmp_path / "a.tif", stored, names=L2A, tags={})
    with open_scene(path, offset=0) as scene, pytest.raises(SceneError, match="holds -9999"):
        scene.read((0, 0, 12000, 12000))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scale": "percent"}, r"--scale 'percent' is not understood; write GAIN or GAIN,OFFSET"),
        ({"scale": "0"}, "not understood"),
        ({"scale": "1,2,3"}, "not understood"),
        ({"scale": "1", "offset": 0}, r"--scale 1 and --offset 0 both say"),
        ({"nodata": "minus"}, r"--nodata 'minus' is no number"),
    ],
)
def test_options_that_say_nothing_are_refused(stack, options, sentence):
    with pytest.raises(SceneError, match=sentence):
        open_scene(stack(np.rint(ground() * 1e4).astype("uint16")), **options)


def test_the_time_that_a_file_was_written_is_no_acquisition(stack):
    values = np.rint(ground() * 1e4).astype("uint16")
    for tags, time in [
        ({"TIFFTAG_DATETIME": "2026:11:20 10:00:00"}, None),
        ({"ACQUISITION_TIME": "2020-04-01T10:00:00Z", "TIFFTAG_DATETIME": "2026:11:20 10:00:00"}, "2020-04-01T10:00"),
        ({"datetime": "20200401T100000"}, "2020-04-01T10:00"),
        ({"date": "2020-04-01"}, "2020-04-01T00:00"),
        ({"datetime": "2020-04-02T05:00:00+07:00"}, "2020-04-01T22:00"),  # in UTC, as all others are
    ]:
        with open_scene(stack(values, tags=tags), offset=0) as scene:
            assert (scene.datetime and scene.datetime.isoformat()[:16]) == time


@pytest.mark.parametrize(
    "tags",
    [
        {"date": "05/06/2023"},
        {"ACQUISITION_TIME": "2023-02-30T10:00:00"},
        {"datetime": "1970-01-01T00:00:00Z"},
        {"ACQUISITION_DATETIME": "0000-00-00"},
        {"datetime": "summer"},
    ],
)
def test_a_date_that_cannot_be_one_of_a_scene_is_warned_of_by_name(stack, caplog, tags):
    path = stack(np.rint(ground() * 1e4).astype("uint16"), tags=tags)
    with caplog.at_level(logging.WARNING, "bandloom"), open_scene(path, offset=0) as scene:
        assert scene.datetime is None
    ((key, value),) = tags.items()
    assert caplog.text.count(f"says {key} {value!r}, which is no date of a scene") == 1


@pytest.mark.parametrize("none", ["", " ", "null", "None"])
def test_a_date_that_is_left_empty_is_not_worth_a_word(stack, caplog, none):
    path = stack(np.rint(ground() * 1e4).astype("uint16"), tags={"date": none, "datetime": "2020-04-01"})
    with caplog.at_level(logging.WARNING, "bandloom"), open_scene(path, offset=0) as scene:
        assert scene.datetime.date().isoformat() == "2020-04-01"
    assert "no date of a scene" not in caplog.text


@pytest.mark.parametrize("offset", ["n/a", "nan", "inf", "-999.6"])
def test_an_offset_tag_that_is_no_whole_number_is_refused(stack, offset):
    path = stack(np.rint(ground() * 1e4).astype("uint16"), tags={"RADIO_ADD_OFFSET": offset})
    with pytest.raises(SceneError, match=f"says RADIO_ADD_OFFSET {offset!r}, which is no whole number"):
        open_scene(path)


def test_bands_beside_reflectance_are_left_out_and_scl_tells_the_clouds(stack, caplog):
    beside = ("QA60", "AOT", "WVP", "SCL", "TCI_R", "TCI_G", "TCI_B", "MSK_CLDPRB")
    values = np.rint(ground(20) * 1e4).astype("uint16")
    values[15] = 4
    values[15, :6, :6] = 9
    path = stack(values, names=(*(f"B{int(n[1:])}" if n != "B8A" else n for n in L2A), *beside))
    with caplog.at_level(logging.INFO, "bandloom"), open_scene(path, offset=0) as scene:
        assert scene.sensor.name == "sentinel2-l2a"
        assert scene.provenance["left_out"] == list(beside)
        assert scene.cloud((0, 0, 600, 600)).sum() == 36
        np.testing.assert_array_equal(scene.read((0, 0, 600, 600))[10][0], values[1] + 1000)
    assert "left out QA60, AOT, WVP, SCL" in caplog.text


def band_folder(folder, values, beside):
    """Write a folder of single-band rasters of Sentinel-2 L2A."""
    folder.mkdir()
    for name, band in [*zip(L2A, values, strict=True), *beside.items()]:
        place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(5e5, 5e6, 10, 10)}
        with rasterio.open(folder / f"{name}.tif", "w", "GTiff", 60, 60, 1, dtype=band.dtype, **place) as raster:
            raster.write(band, 1)
    return folder


@pytest.mark.parametrize("name", ["SCL", "T33UVP_20230605T103021_SCL_20m", "scl"])
def test_the_scene_classification_beside_a_folders_bands_tells_the_clouds(tmp_path, caplog, name):
    classes = np.full((60, 60), 4, np.uint8)
    classes[:6, :6], classes[30:, 30:] = 9, 3  # cloud, shadow
    folder = band_folder(tmp_path / "scene", np.rint(ground() * 1e4).astype("uint16"), {name: classes})
    with caplog.at_level(logging.INFO, "bandloom"), open_scene(folder, offset=0) as scene:
        np.testing.assert_array_equal(scene.cloud((0, 0, 600, 600)), scl_cloud(classes[None]))
        assert scene.cloud((0, 0, 600, 600))[:6, :6].all()
    assert f"scene: {name}.tif tells the clouds" in caplog.text


def test_a_tile_of_aws_says_that_it_has_no_quality_masks(tmp_path, caplog):
    folder = band_folder(tmp_path / "tile", np.rint(ground() * 1e4 + 1000).astype("uint16"), {})
    (folder / "qi").mkdir()
    (folder / "productInfo.json").write_text('{"name": "S2A_MSIL2A_20230605T103021_N0509_R108_T33UVP_20230605T140000"}')
    with open_scene(folder) as scene:
        assert scene.cloud((0, 0, 600, 600)) is None
    assert "its qi folder holds no mask of clouds, lost or saturated samples" in caplog.text


def test_a_band_that_nobody_knows_is_named_with_the_option_that_leaves_it_out(stack):
    values = np.rint(ground(14) * 1e4).astype("uint16")
    path = stack(values, names=(*L2A, "ndvi", "elevation"))
    with pytest.raises(SceneError, match=r"ndvi, elevation beside.*--bands=-ndvi,-elevation"):
        open_scene(path, offset=0)
    for bands in ("-ndvi,-elevation", ",".join(L2A), ",".join(L2A).lower()):
        np.testing.assert_allclose(blue_of(path, offset=0, bands=bands)[0], ground(14)[1], atol=6e-5)
    with pytest.raises(SceneError, match=r"no band 'nvdi', which --bands names"):
        open_scene(path, offset=0, bands="-nvdi")
    with pytest.raises(SceneError, match="mixes"):
        open_scene(path, offset=0, bands="B02,-ndvi")


def test_the_sensors_own_thermal_band_is_no_band_beside(stack):
    names = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "QA_PIXEL", "ST_B10")
    path = stack(np.rint((ground(9) + 0.2) / 2.75e-5).astype("uint16"), names=names)
    with pytest.raises(SceneError, match=r"Collection 2: 2\.75e-05,-0\.2 for level 2"):
        open_scene(path, sensor="landsat89-l2", offset=0)
    with open_scene(path, sensor="landsat89-l2", scale="2.75e-05,-0.2") as scene:
        found = dn_to_reflectance(scene.read((0, 0, 600, 600))[30])
    assert found.shape[0] == 7
    assert np.nanmedian(found) == pytest.approx(np.mean(GROUND), abs=0.02)


def test_a_raster_that_lies_by_control_points_alone_is_told_to_be_warped(tmp_path):
    path = tmp_path / "gcp.tif"
    points = [rasterio.control.GroundControlPoint(r, c, 15 + c / 1e4, 47 - r / 1e4) for r in (0, 90) for c in (0, 100)]
    with rasterio.open(path, "w", "GTiff", 60, 60, 13, dtype="uint16", gcps=points, crs="EPSG:4326") as raster:
        raster.write(np.full((13, 60, 60), 1500, np.uint16))
        raster.descriptions = L1C
    with pytest.raises(
        SceneError, match=r"by 4 ground control points alone; warp it first: gdalwarp -t_srs EPSG:32633"
    ):
        open_scene(path)


@pytest.mark.parametrize("names", [L1C])
def test_the_numbers_of_the_old_convention_are_what_they_were(stack, names):
    values = np.rint((ground(13) + 0.1) * 1e4).astype("uint16")
    values[10] = 1010
    found, provenance = blue_of(stack(values, names=names, tags={"RADIO_ADD_OFFSET": "-1000"}))
    np.testing.assert_allclose(found, ground(13)[1], atol=6e-5)
    assert provenance["offset_from"] == "RADIO_ADD_OFFSET"


def test_a_nodata_that_no_band_can_hold_is_said(stack, caplog):
    open_scene(stack(np.rint(ground() * 1e4).astype("uint16")), offset=0, nodata="-9999").close()
    assert "holds uint16, which cannot be --nodata -9999: no sample is absent by it" in caplog.text
