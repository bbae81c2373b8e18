"""Rasters that a disk does not take whole: refused in one sentence, however late the disk was full."""

import numpy as np
import pytest
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.windows import Window

from bandloom.errors import OutputError
from bandloom.files.output import new_output
from bandloom.files.written_raster import Written, disk_errors, written_raster

VALUES = np.random.default_rng(0).random((3, 200, 200)).astype(np.float32)
PROFILE = {
    "driver": "GTiff",
    "dtype": "float32",
    "count": 3,
    "height": 200,
    "width": 200,
    "tiled": True,
    "blockxsize": 64,
    "blockysize": 64,
    "compress": "deflate",
    "nodata": np.nan,
    "transform": rasterio.transform.from_origin(0, 0, 10, 10),
}


def test_what_was_written_window_by_window_is_read_back(tmp_path):
    values = VALUES.copy()
    values[:, :10] = np.nan
    with written_raster(tmp_path / "a.tif", tmp_path / "a.tif", **PROFILE) as written:
        for top in range(0, 200, 64):
            window = Window(0, top, 200, min(64, 200 - top))
            written.write(values[:, top : top + 64], window)
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), values)


@pytest.mark.parametrize("kept", [0.5, 0.93, 0.999])
def test_a_file_that_lost_its_end_when_it_was_closed_gets_no_name(tmp_path, monkeypatch, kept):
    """GDAL writes the last blocks as it closes a file, and of a full disk it tells nobody then."""
    out, closed = tmp_path / "out.tif", Written.check

    def cut(self, path):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole))])
        closed(self, path)

    monkeypatch.setattr(Written, "check", cut)
    with (
        pytest.raises(OutputError, match=r"out\.tif cannot be written"),
        new_output(out) as temporary,
        written_raster(temporary, out, **PROFILE) as written,
    ):
        written.write(VALUES)
    assert not list(tmp_path.iterdir())


def test_errors_of_gdal_that_are_no_errors_of_rasterio_are_one_sentence(tmp_path):
    with (
        pytest.raises(OutputError, match=r"a\.tif cannot be written .*IO error|disk is full"),
        disk_errors(tmp_path / "a.tif"),
    ):
        raise CPLE_BaseError(3, 3, "TIFFWriteDirectoryTagData:IO error writing tag data")
