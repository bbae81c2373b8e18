"""Rasters that lost values when they were stored are told from those that did not, whatever stored them."""

import re

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

from bandloom.rasters.lossy import loss_of, refusal

pytestmark = pytest.mark.filterwarnings("ignore")
CODES = np.zeros((128, 128), np.uint8)
CODES[20:70, 30:90], CODES[60:100, 10:50], CODES[90:, 90:] = 1, 4, 9


def stored(path, dtype="uint8", **options):
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 10, 10)}
    with rasterio.open(path, "w", width=128, height=128, count=1, dtype=dtype, **place, **options) as file:
        file.write(CODES.astype(dtype), 1)
    return path


def virtual(path):
    """Return a virtual raster of one, as gdalbuildvrt writes it: it says nothing of how its source is stored."""
    vrt = path.with_name("a.vrt")
    rasterio.shutil.copy(path, vrt, driver="VRT")
    vrt.write_text(re.sub(r'<Metadata domain="IMAGE_STRUCTURE">.*?</Metadata>', "", vrt.read_text(), flags=re.DOTALL))
    return vrt


@pytest.mark.parametrize(
    ("name", "options", "loss"),
    [
        ("a.tif", {"compress": "JPEG"}, "JPEG"),
        ("a.tif", {"driver": "COG", "compress": "JPEG"}, "JPEG"),
        ("a.jpg", {"driver": "JPEG"}, "JPEG"),
        ("a.mrf", {"driver": "MRF", "compress": "JPEG"}, "JPEG"),
        ("a.jp2", {"driver": "JP2OpenJPEG", "quality": 10, "reversible": "NO"}, "JPEG2000"),
        ("a.tif", {"compress": "LERC", "max_z_error": 1}, "LERC with an error of up to 1"),
        (
            "a.tif",
            {"compress": "LERC_DEFLATE", "max_z_error": 0.1, "dtype": "float32"},
            "LERC_DEFLATE with an error of up to 0.1",
        ),
    ],
)
def test_what_lost_values_is_named(tmp_path, name, options, loss):
    path = stored(tmp_path / name, **options)
    with rasterio.open(path) as file:
        assert loss_of(file) == loss
    with rasterio.open(virtual(path)) as file:
        assert loss_of(file) == f"{loss}, {name}"
    assert f"is compressed with loss ({loss}), which turns codes into others" in refusal(path, loss)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.tif", {}),
        ("a.tif", {"compress": "DEFLATE"}),
        ("a.tif", {"compress": "LERC"}),
        ("a.tif", {"compress": "LERC_ZSTD", "max_z_error": 0.6}),  # whole numbers within 0.6 are themselves
        ("a.jp2", {"driver": "JP2OpenJPEG", "quality": 100, "reversible": "YES"}),
        ("a.png", {"driver": "PNG"}),
    ],
)
def test_what_lost_nothing_is_left_alone(tmp_path, name, options):
    path = stored(tmp_path / name, **options)
    with rasterio.open(path) as file:
        assert loss_of(file) is None
        np.testing.assert_array_equal(file.read(1), CODES)
    with rasterio.open(virtual(path)) as file:
        assert loss_of(file) is None
