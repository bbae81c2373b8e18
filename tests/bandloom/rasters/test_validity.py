import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin
from rasterio.windows import Window

from bandloom.rasters.validity import Validity, measured

PLACE = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 10, 10)}
HOLE = np.s_[10:20, 5:15]


def write(path, dtype="uint16", count=3, nodata=None, **profile):
    """Three bands of values that are not absent by themselves."""
    values = np.random.default_rng(0).integers(1, 100, (count, 40, 30)).astype(dtype)
    with rasterio.open(path, "w", "GTiff", 30, 40, count, dtype=dtype, nodata=nodata, **PLACE, **profile) as raster:
        raster.write(values)
    return values


def look(path, **options):
    with rasterio.open(path) as raster:
        indexes = [i for i, kind in enumerate(raster.colorinterp, 1) if kind is not ColorInterp.alpha]
        return measured(raster, raster.read(indexes), indexes, **options)


def hole(shape=(3, 40, 30)):
    known = np.ones(shape, bool)
    known[(slice(None), *HOLE)] = False
    return known


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", 255),
        ("int8", -128),
        ("uint16", 65535),
        ("uint16", 0),
        ("int16", -9999),
        ("int16", -32768),
        ("uint32", 4294967295),
        ("int32", -2147483648),
        ("float32", -9999),
        ("float32", -3.4028234663852886e38),
        ("float32", 1e20),
        ("float64", -1.7976931348623157e308),
        ("float32", float("nan")),
        ("float64", float("inf")),
    ],
)
def test_the_nodata_value_of_every_type_is_absent(tmp_path, dtype, nodata):
    write(tmp_path / "a.tif", dtype, nodata=nodata)
    with rasterio.open(tmp_path / "a.tif", "r+") as raster:
        for index in raster.indexes:
            raster.write(np.full((10, 10), nodata, dtype), index, window=((10, 20), (5, 15)))
    np.testing.assert_array_equal(look(tmp_path / "a.tif"), hole())


def test_a_nodata_value_that_the_type_cannot_hold_stands_for_nothing(tmp_path):
    values = write(tmp_path / "a.tif", "int16")
    with rasterio.open(tmp_path / "a.tif") as raster:
        for impossible in (-9999.5, 1e20, -3.4e38, float("nan")):
            assert measured(raster, values, [1, 2, 3], nodata=impossible).all()


@pytest.mark.parametrize("kind", ["internal", "sidecar", "alpha", "alpha16", "bands"])
@pytest.mark.parametrize("nodata", [None, 7])
def test_masks_of_every_kind_count_and_so_does_nodata_beside_them(tmp_path, kind, nodata):
    path, known = tmp_path / "a.tif", hole()
    if kind.startswith("alpha"):
        values = write(path, "uint16" if kind == "alpha16" else "uint8", count=4, nodata=nodata)[:3]
        with rasterio.open(path, "r+") as raster:
            raster.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.undefined, ColorInterp.alpha]
            raster.write(np.where(known[0], np.iinfo(raster.dtypes[0]).max, 0).astype(raster.dtypes[0]), 4)
    else:
        values = write(path, nodata=nodata)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "internal"), rasterio.open(path, "r+") as raster:
            raster.write_mask(known[0])
        assert (path.with_suffix(".tif.msk")).exists() == (kind != "internal")
    if kind == "bands":  # a mask a band: INTERNAL_MASK_FLAGS_n without "per dataset"
        known[1:] = True
        masks = np.where(known, 255, 0).astype(np.uint8)
        with rasterio.open(f"{path}.msk", "w", "GTiff", 30, 40, 3, dtype="uint8", **PLACE) as mask:
            mask.write(masks)
            mask.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": "0" for band in (1, 2, 3)})
    np.testing.assert_array_equal(look(path), known & (values != nodata) if nodata else known)


def test_each_band_may_have_its_own_nodata_value(tmp_path):
    values = write(tmp_path / "a.tif", "float32")
    bands = "".join(
        f'<VRTRasterBand dataType="Float32" band="{b}"><NoDataValue>{b}</NoDataValue><SimpleSource><SourceFilename'
        f' relativeToVRT="1">a.tif</SourceFilename><SourceBand>{b}</SourceBand></SimpleSource></VRTRasterBand>'
        for b in (1, 2, 3)
    )
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="30" rasterYSize="40"><GeoTransform>0, 10, 0, 0, 0, -10</GeoTransform>'
        f"{bands}</VRTDataset>"
    )
    np.testing.assert_array_equal(look(tmp_path / "a.vrt"), values != np.array([1, 2, 3])[:, None, None])


def test_what_the_user_says_stands_in_the_files_place(tmp_path):
    values = write(tmp_path / "a.tif", "int16", nodata=5)
    np.testing.assert_array_equal(look(tmp_path / "a.tif", nodata=9), values != 9)
    assert look(tmp_path / "a.tif", nodata="none").all()


def test_a_window_sees_its_own_part_of_the_mask(tmp_path):
    write(tmp_path / "a.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "a.tif", "r+") as raster:
        raster.write_mask(hole()[0])
    with rasterio.open(tmp_path / "a.tif") as raster:
        validity, window = Validity(raster, [2]), Window(3, 8, 9, 7)
        assert not validity.by_values_alone
        np.testing.assert_array_equal(validity.of(raster.read([2], window=window), window), hole()[:1, 8:15, 3:12])
