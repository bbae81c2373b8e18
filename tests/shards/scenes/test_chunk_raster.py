"""Chunks of Zarr v3 as a raster, against zarr-python and against the same pixels in a GeoTIFF read by rasterio."""

import json

import numpy as np
import pytest
import rasterio
import zarr
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import from_origin
from rasterio.windows import Window
from zarr.codecs import ZstdCodec

from bandloom.shards.scenes.chunk_raster import ChunkRaster, chunked_array

PLACE = CRS.from_epsg(32632), from_origin(300_000, 5_000_000, 20, 20)


@pytest.fixture
def both(tmp_path):
    """Return the array, a raster over its chunks, and one over a GeoTIFF of it."""
    values = np.random.default_rng(0).integers(0, 60_000, (70, 95)).astype(np.uint16)
    made = zarr.create_array(
        tmp_path / "a.zarr",
        shape=values.shape,
        dtype="u2",
        chunks=(32, 40),
        fill_value=0,
        compressors=ZstdCodec(level=0),
    )
    made[:] = values
    described = chunked_array(json.loads((tmp_path / "a.zarr/zarr.json").read_text()))
    with rasterio.open(
        tmp_path / "a.tif", "w", "GTiff", 95, 70, 1, dtype="uint16", crs=PLACE[0], transform=PLACE[1], nodata=0
    ) as out:
        out.write(values, 1)
    chunks = ChunkRaster(described, lambda name: (tmp_path / "a.zarr" / name).read_bytes(), *PLACE, "a", 0)
    with rasterio.open(tmp_path / "a.tif") as wanted:
        yield zarr.open_array(tmp_path / "a.zarr", mode="r")[:], chunks, wanted


def test_windows_hold_what_zarr_python_reads(both):
    values, raster, wanted = both
    rng = np.random.default_rng(1)
    for _ in range(60):
        top, bottom = sorted(rng.choice(71, 2, replace=False).tolist())
        left, right = sorted(rng.choice(96, 2, replace=False).tolist())
        window = Window(left, top, right - left, bottom - top)
        np.testing.assert_array_equal(raster.read([1], window=window)[0], values[top:bottom, left:right])
        np.testing.assert_array_equal(
            raster.read(1, window=((top, bottom), (left, right))), wanted.read(1, window=window)
        )
    for shape in ((1, 7, 9), (1, 70, 95), (1, 33, 20)):
        np.testing.assert_array_equal(raster.read([1], out_shape=shape), wanted.read([1], out_shape=shape))


def test_it_says_of_itself_what_rasterio_says_of_a_geotiff(both):
    _, raster, wanted = both
    for name in ("count", "indexes", "shape", "height", "width", "dtypes", "nodatavals", "crs", "transform", "rpcs"):
        assert getattr(raster, name) == getattr(wanted, name), name
    assert [list(map(str, flags)) for flags in raster.mask_flag_enums] == [
        list(map(str, flags)) for flags in wanted.mask_flag_enums
    ]
    assert (raster.colorinterp, raster.overviews(1)) == (wanted.colorinterp, wanted.overviews(1))


def test_a_window_outside_and_a_chunk_of_another_size_are_refused(both):
    _, raster, _ = both
    for window in (((0, 71), (0, 5)), ((5, 5), (0, 5)), ((-1, 5), (0, 5))):
        with pytest.raises(RasterioError, match="outside"):
            raster.read(1, window=window)
    plain = chunked_array(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [4, 4],
            "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}},
            "chunk_key_encoding": {"name": "default"},
            "codecs": [{"name": "bytes", "configuration": {"endian": "big"}}],
            "fill_value": 7,
        }
    )
    assert (ChunkRaster(plain, lambda _: None, *PLACE, "b", 0).read(1) == 7).all()
    held = np.arange(16, dtype=">u2").reshape(4, 4)
    np.testing.assert_array_equal(ChunkRaster(plain, lambda _: held.tobytes(), *PLACE, "b", 0).read(1), held)
    with pytest.raises(RasterioError, match="holds 31 bytes"):
        ChunkRaster(plain, lambda _: bytes(31), *PLACE, "b", 0).read(1)
