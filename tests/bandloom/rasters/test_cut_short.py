"""A file cut anywhere gives its values and all of its tags, or an error."""

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError
from rasterio.transform import from_origin

from bandloom.rasters.cut_short import open_whole


def written(path, **more):
    profile = {"driver": "GTiff", "height": 40, "width": 50, "count": 2, "dtype": "int16", "crs": "EPSG:32632"}
    with rasterio.open(path, "w", **profile, transform=from_origin(500_000, 5e6, 10, 10), **more) as file:
        file.write(np.random.default_rng(0).integers(-9, 99, (2, 40, 50)).astype("int16"))
        file.update_tags(CLASSES="water, forest")
        file.descriptions = ("B02", "B03")
        file.scales, file.nodata = (0.01, 0.01), -9
    return path


def seen(raster):
    return (
        raster.read(masked=True).filled(-1000).tolist(),
        raster.tags(),
        raster.descriptions,
        raster.scales,
        raster.crs,
    )


@pytest.mark.parametrize("more", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}, {"driver": "COG"}])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_no_cut_loses_a_tag_in_silence(tmp_path, more):
    path = written(tmp_path / "raster.tif", **(more if "driver" not in more else {}))
    if "driver" in more:
        rasterio.shutil.copy(path, tmp_path / "cog.tif", driver="COG")
        path = tmp_path / "cog.tif"
    with open_whole(path) as raster:
        expected = seen(raster)
    held, lost, cut = path.read_bytes(), 0, tmp_path / "cut.tif"
    for size in sorted({*np.linspace(0, len(held) - 1, 25, dtype=int).tolist(), *range(len(held) - 40, len(held), 5)}):
        cut.write_bytes(held[:size])
        try:
            with open_whole(cut) as raster:
                assert seen(raster) == expected
        except RasterioError as cause:
            lost += "it ends before its tag" in str(cause)
    assert lost or "driver" in more  # a COG has its tags in front
