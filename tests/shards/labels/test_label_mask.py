"""Masks of codes, each against rasterio's own reading of the file and plain arithmetic."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT

from bandloom.classes.taxonomy import Taxonomy, get_taxonomy
from bandloom.errors import BandloomError, LabelError
from bandloom.shards.labels.label_mask import LabelMask
from bandloom.shards.labels.reading import Ground, LabelReading

GROUND = Ground(CRS.from_epsg(32633), 500_040.0, 5_300_040.0, 60, 48, "scene")
TWO = Taxonomy.from_dict(
    {"name": "two", "ignore": [9], "classes": [{"code": 0, "name": "water"}, {"code": 1, "name": "land"}]}, "two"
)
ASKS = "say --label-nodata 0 if those pixels have no label, or --label-nodata none if they are that class"


def codes(*values: float, dtype: str = "uint8") -> np.ndarray:
    """Return a mask in which the values take turns along rows and columns."""
    rows, columns = np.mgrid[: GROUND.height, : GROUND.width]
    return np.array(values)[(rows // 3 + columns // 5) % len(values)].astype(dtype)


def write(path, values, *, mask=None, alpha=None, internal=True, scale=None, palette=False, **profile):
    bands = values[None] if values.ndim == 2 else values
    count = len(bands) + (alpha is not None)
    options = {"driver": "GTiff", "dtype": values.dtype, "crs": GROUND.crs, "transform": GROUND.transform} | profile
    height, width = bands.shape[1:]
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(path, "w", height=height, width=width, count=count, **options) as raster,
    ):
        raster.write(bands, list(range(1, len(bands) + 1)))
        if alpha is not None:
            raster.write(alpha.astype(values.dtype), count)
            raster.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        if mask is not None:
            raster.write_mask(mask)
        if scale is not None:
            raster.scales = (scale,)
        if palette:
            raster.write_colormap(1, {0: (0, 0, 255, 255), 1: (0, 255, 0, 255)})
    return path


def read(path, taxonomy=TWO, nodata=None, ground=GROUND):
    mask = LabelMask(path, ground, taxonomy, LabelReading(nodata=nodata))
    try:
        return mask.read(ground.whole_m), mask
    finally:
        mask.close()


@pytest.mark.parametrize("bands", [2, 3, 5])
def test_a_mask_of_several_bands_is_refused(tmp_path, bands):
    path = write(tmp_path / "m.tif", np.stack([codes(0, 1)] * bands))
    with pytest.raises(LabelError, match=f"has {bands} bands; a mask has one, of class codes"):
        read(path)


def test_a_colour_coded_mask_with_transparency_is_refused_too(tmp_path):
    path = write(tmp_path / "m.tif", np.stack([codes(0, 1)] * 4))  # GDAL's own guess: red, green, blue, alpha
    with pytest.raises(LabelError, match="has 3 bands"):
        read(path)


def test_a_palette_is_one_band_of_codes(tmp_path):
    found, _ = read(write(tmp_path / "m.tif", codes(0, 1), palette=True))
    np.testing.assert_array_equal(found, codes(0, 1))


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", 200),
        ("int8", -128),
        ("int16", -9999),
        ("uint16", 65535),
        ("int32", -2147483648),
        ("uint32", 4294967295),
        ("int64", -9999),
        ("uint64", 9999),
        ("float32", -3.4028234663852886e38),
        ("float32", float("nan")),
        ("float64", float("nan")),
        ("float32", -99.99),
    ],
)
def test_declared_nodata_of_every_type_is_no_label_and_counted(tmp_path, dtype, nodata):
    values = codes(0, 1, nodata, dtype=dtype)
    found, mask = read(write(tmp_path / "m.tif", values, nodata=nodata))
    np.testing.assert_array_equal(found, codes(0, 1, 255))
    assert list(mask.unlabelled.values()) == [(codes(0, 1, 255) == 255).sum()]
    assert next(iter(mask.unlabelled)).startswith("nodata ")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_nodata_that_is_the_code_of_a_class_is_asked_about(tmp_path, dtype):
    path = write(tmp_path / "m.tif", codes(0, 1, dtype=dtype), nodata=0)
    with pytest.raises(LabelError, match=ASKS):
        read(path)
    np.testing.assert_array_equal(read(path, nodata="none")[0], codes(0, 1))
    found, mask = read(path, nodata="0")
    np.testing.assert_array_equal(found, codes(255, 1))
    assert mask.unlabelled == {"nodata 0": (codes(0, 1) == 0).sum()}


def test_nodata_that_is_the_id_of_a_class_is_asked_about(tmp_path):
    path = write(tmp_path / "m.tif", codes(111, 112, dtype="uint16"), nodata=111)
    with pytest.raises(LabelError, match="which is the code of class 'Continuous urban fabric'"):
        read(path, get_taxonomy("corine44"))


@pytest.mark.parametrize("told", ["nan", "NaN", "-1", "7", "7.0"])
def test_nodata_may_be_told_where_the_file_does_not_say(tmp_path, told):
    path = write(tmp_path / "m.tif", codes(0, 1, float(told), dtype="float32"))
    with pytest.raises(LabelError, match="--label-nodata"):
        read(path)
    np.testing.assert_array_equal(read(path, nodata=told)[0], codes(0, 1, 255))


def test_nodata_that_is_no_number_is_refused():
    with pytest.raises(LabelError, match="--label-nodata 'minus one' is not understood; give a number, nan, or none"):
        LabelReading(nodata="minus one").check()


@pytest.mark.parametrize("kind", ["internal", "msk", "alpha", "mask and nodata", "half transparent"])
def test_masks_of_every_kind_are_no_label_and_counted(tmp_path, kind):
    shown = codes(0, 1, 1) > 0
    values = codes(0, 1)
    if kind in ("alpha", "half transparent"):
        path = write(tmp_path / "m.tif", values, alpha=shown * (255 if kind == "alpha" else 100))
    else:
        nodata = 200 if kind == "mask and nodata" else None
        path = write(tmp_path / "m.tif", values, mask=shown, internal=kind == "internal", nodata=nodata)
    found, mask = read(path)
    np.testing.assert_array_equal(found, np.where(shown, values, 255))
    assert mask.unlabelled == {"masked": (~shown).sum()}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint64", "int8"])
def test_whole_numbers_of_any_type_are_codes(tmp_path, dtype):
    np.testing.assert_array_equal(read(write(tmp_path / "m.tif", codes(0, 1, 9, dtype=dtype)))[0], codes(0, 1, 255))


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (0.5, "float32", "holds 0.5, not in label set 'two' .*codes are whole numbers"),
        (float("inf"), "float32", "holds inf"),
        (float("nan"), "float64", "holds nan.*--label-nodata nan"),
        (-1, "int16", "holds -1, .*list the code under ignore, or say --label-nodata"),
        (254, "uint8", "holds 254"),
        (1e6, "int32", "holds 1000000"),
        (256, "uint16", "holds 256"),
        (65537, "uint32", "holds 65537"),
    ],
)
def test_what_is_no_code_is_refused_by_its_value(tmp_path, value, dtype, said):
    with pytest.raises(LabelError, match=said):
        read(write(tmp_path / "m.tif", codes(0, 1, value, dtype=dtype)))


def test_complex_numbers_and_scales_are_refused(tmp_path):
    with pytest.raises(LabelError, match="holds complex numbers"):
        read(write(tmp_path / "c.tif", codes(0, 1, dtype="complex64")))
    with pytest.raises(LabelError, match=r"states a scale of 0\.5"):
        read(write(tmp_path / "s.tif", codes(0, 1), scale=0.5))


def test_255_of_a_binary_mask_is_said_or_is_a_class_by_its_id(tmp_path):
    path = write(tmp_path / "m.tif", codes(0, 255))
    found, mask = read(path)
    np.testing.assert_array_equal(found, codes(0, 255))
    count = (codes(0, 255) == 255).sum()
    assert mask.unlabelled == {"the value 255": count}
    assert mask.warnings()[0].startswith(f"{count} pixels hold 255, which means no label; if it is a class")
    water = {"code": 1, "name": "water", "id": 255}
    by_id = Taxonomy.from_dict({"name": "b", "ignore": [], "classes": [{"code": 0, "name": "land"}, water]}, "b")
    found, mask = read(path, by_id)
    np.testing.assert_array_equal(found, codes(0, 1))
    assert mask.warnings() == []


def test_255_that_is_declared_as_nodata_needs_no_warning(tmp_path):
    _, mask = read(write(tmp_path / "m.tif", codes(0, 255), nodata=255))
    assert mask.warnings() == []
    assert list(mask.unlabelled) == ["nodata 255"]


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32"])
def test_a_raster_of_corines_three_digit_ids_is_understood(tmp_path, dtype):
    corine = get_taxonomy("corine44")
    ids = [int(land_class.id) for land_class in corine.classes][:12]
    found, _ = read(write(tmp_path / "m.tif", codes(*ids, dtype=dtype)), corine)
    np.testing.assert_array_equal(found, codes(*range(12)))
    found, _ = read(write(tmp_path / "g.tif", codes(1, 44, dtype=dtype)), corine)
    np.testing.assert_array_equal(found, codes(0, 43))
    with pytest.raises(LabelError, match="holds 999"):
        read(write(tmp_path / "n.tif", codes(111, 999, dtype="uint16")), corine)


@pytest.mark.parametrize(
    ("epsg", "turn", "pixel"),
    [
        (32633, 0, 20.0),
        (32633, 0, 7.0),
        (32633, 25, 10.0),
        (32632, 0, 10.0),
        (3035, 10, 12.0),
        (4326, 0, 1e-4),
        (3857, 0, 15.0),
    ],
)
def test_a_mask_on_another_grid_gives_what_an_exact_warp_gives(tmp_path, epsg, turn, pixel):
    from rasterio.warp import transform

    (x,), (y,) = transform(GROUND.crs, f"EPSG:{epsg}", [GROUND.x_m - 50], [GROUND.y_m + 60])
    place = Affine.translation(x, y) * Affine.rotation(turn) * Affine.scale(pixel, -pixel)
    values = np.random.default_rng(0).integers(0, 2, (150, 170)).astype(np.uint8)
    path = write(tmp_path / "m.tif", values, crs=f"EPSG:{epsg}", transform=place)
    found, _ = read(path)
    grid = {"crs": GROUND.crs, "transform": GROUND.transform, "width": 60, "height": 48}
    with (
        rasterio.open(path) as raster,
        WarpedVRT(raster, resampling=Resampling.nearest, tolerance=1e-6, src_nodata=77, nodata=255, **grid) as warped,
    ):
        wanted = warped.read(1)
    assert (found != wanted).sum() <= (pixel == 7.0) * 3  # centres on a line between two pixels
    assert (found != 255).mean() > 0.3


def test_a_window_at_a_time_gives_what_the_whole_gives(tmp_path):
    values = np.random.default_rng(1).integers(0, 2, (90, 90)).astype(np.uint8)
    place = Affine.translation(15.0001, 47.8532) * Affine.rotation(13) * Affine.scale(1e-4, -8e-5)
    mask = LabelMask(write(tmp_path / "m.tif", values, crs="EPSG:4326", transform=place), GROUND, TWO, LabelReading())
    whole = mask.read((0, 0, 600, 480))
    for x, y, side in ((0, 0, 120), (70, 50, 310), (-60, -60, 240), (480, 360, 240)):
        part = mask.read((x, y, side, side))
        padded = np.pad(whole, 100, constant_values=255)
        row, column = y // 10 + 100, x // 10 + 100
        np.testing.assert_array_equal(part, padded[row : row + side // 10, column : column + side // 10])
    mask.close()


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"crs": None}, "has no coordinate system; write one"),
        ({"crs": "EPSG:32755"}, "does not lie on scene scene"),
        ({"transform": Affine(10, 0, 900_000, 0, -10, 5_300_040)}, "does not lie on scene scene"),
        ({"crs": "EPSG:4326", "transform": Affine(10, 0, 900, 0, -10, 900)}, "does not lie on scene scene"),
    ],
)
def test_a_mask_of_another_place_is_refused(tmp_path, profile, said):
    with pytest.raises(LabelError, match=said):
        read(write(tmp_path / "m.tif", codes(0, 1), **profile))


def test_files_that_are_no_rasters_are_one_sentence(tmp_path):
    (tmp_path / "text.tif").write_text("trees")
    (tmp_path / "empty.tif").write_bytes(b"")
    for name in ("text.tif", "empty.tif", "none.tif"):
        with pytest.raises(BandloomError, match=name):
            read(tmp_path / name)
    with pytest.raises(LabelError, match="is a raster, which --label-layer is not for"):
        LabelMask(write(tmp_path / "m.tif", codes(0, 1)), GROUND, TWO, LabelReading(layer="a"))


def test_what_lies_outside_a_mask_is_counted(tmp_path):
    found, mask = read(write(tmp_path / "m.tif", codes(0, 1)[:40]))
    np.testing.assert_array_equal(found[:40], codes(0, 1)[:40])
    assert mask.unlabelled == {"outside the mask": 8 * 60}


def test_a_fine_mask_is_read_a_piece_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("bandloom.shards.labels.label_raster._MOST_SOURCE_PX", 500)
    values = np.random.default_rng(2).integers(0, 2, (480, 600)).astype(np.uint8)
    found, _ = read(write(tmp_path / "m.tif", values, transform=GROUND.transform * Affine.scale(0.1)))
    np.testing.assert_array_equal(found, values[5::10, 5::10])


def test_a_local_coordinate_system_is_one_sentence(tmp_path):
    path = write(tmp_path / "m.tif", codes(0, 1), crs=CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]'))
    with pytest.raises(LabelError, match=r"m\.tif.*coordinate system"):
        read(path)


def test_a_mask_whose_rows_run_from_south_to_north_lies_where_it_says(tmp_path):
    corner = GROUND.y_m - 10 * GROUND.height
    south_up = write(tmp_path / "m.tif", codes(0, 1)[::-1], transform=Affine(10, 0, GROUND.x_m, 0, 10, corner))
    np.testing.assert_array_equal(read(south_up)[0], codes(0, 1))


@pytest.mark.parametrize("options", [{"compress": "jpeg"}, {"compress": "lerc", "max_z_error": 1}])
def test_codes_that_were_compressed_with_loss_are_refused(tmp_path, options):
    path = write(tmp_path / "m.tif", codes(0, 1), blockysize=16, **options)
    with pytest.raises(LabelError, match=r"is compressed with loss .* turns codes into others where classes meet"):
        read(path)


@pytest.mark.parametrize(("nodata", "shown"), [("-9999", "-9999"), ("256", "256"), ("0.5", "0.5"), ("-inf", "-inf")])
def test_a_nodata_that_the_file_cannot_hold_is_said(tmp_path, nodata, shown):
    path = write(tmp_path / "m.tif", codes(0, 1))
    found, mask = read(path, nodata=nodata)
    np.testing.assert_array_equal(found, codes(0, 1))
    assert mask.warnings() == [f"{path} holds uint8, which cannot be --label-nodata {shown}: it hides nothing."]


@pytest.mark.parametrize(("dtype", "value"), [("int64", -(2**63)), ("uint64", 2**64 - 1), ("int64", 2**63 - 1)])
def test_the_ends_of_64_bits_are_told_and_then_no_label(tmp_path, dtype, value):
    values = codes(0, 1, dtype=dtype)
    values[:10] = value
    path = write(tmp_path / "m.tif", values)
    with pytest.raises(LabelError, match=f"holds {value}, not in label set .* say --label-nodata if it means no label"):
        read(path)
    found, mask = read(path, nodata=str(value))
    np.testing.assert_array_equal(found, np.where(values == value, 255, values).astype("uint8"))
    assert not mask.warnings()
