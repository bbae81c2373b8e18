import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from bandloom.errors import SceneError
from bandloom.sensors import get_sensor
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene


@pytest.fixture
def write_hls(tmp_path):
    """Write an HLS 2.0 granule of 40 x 44 pixels: one int16 GeoTIFF a band, -9999 absent, and Fmask."""

    def write(kind):
        name = f"HLS.{kind}.T47PPR.2023156T034021.v2.0"
        root, rng, stored = tmp_path / name, np.random.default_rng(3), {}
        root.mkdir()
        for band in get_sensor(f"hls-{kind.lower()}").bands:
            pixels = rng.integers(-200, 6000, (40, 44), dtype=np.int16)
            pixels[0, 0], pixels[5, 5] = -9999, 0
            stored[band.name] = pixels
            raster(root / f"{name}.{band.name}.tif", pixels, -9999)
        mask = np.zeros((40, 44), np.uint8)
        mask[1, 1], mask[2, 2], mask[3, 3] = 0b10, 0b1000, 255  # cloud, shadow, fill
        raster(root / f"{name}.Fmask.tif", mask, 255)
        raster(root / f"{name}.SZA.tif", mask, 255)
        return root, stored

    return write


def raster(path, pixels, nodata):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=40,
        width=44,
        count=1,
        dtype=pixels.dtype,
        crs="EPSG:32647",
        nodata=nodata,
        transform=from_origin(600_000, 1_700_040, 30, 30),
    ) as file:
        file.write(pixels, 1)


@pytest.mark.parametrize(("kind", "bands"), [("L30", 7), ("S30", 11)])
def test_a_granule_is_read_in_slot_order_without_an_offset(write_hls, kind, bands):
    root, stored = write_hls(kind)
    with open_scene(root) as scene:
        groups, cloud = scene.read((0, 0, 1320, 1200)), scene.cloud((0, 0, 1320, 1200))
        assert scene.sensor.name == f"hls-{kind.lower()}"
        assert scene.datetime.isoformat() == "2023-06-05T03:40:21+00:00"
        names = [band.name for band in scene.sensor.groups[0].bands]
    assert groups[30].shape == (bands, 40, 44)
    for name, pixels in zip(names, groups[30], strict=True):
        wanted = stored[name].astype(int) + 1000
        wanted[0, 0] = 0
        np.testing.assert_array_equal(pixels, wanted)
        assert pixels[5, 5] == 1000  # a stored 0 is a reflectance of 0, not an absent sample
    assert cloud.sum() == 9
    assert cloud[3:6, 3:6].all()


def test_a_granule_that_lacks_a_band_is_refused_and_two_build_together(write_hls, tmp_path):
    (one, _), (two, _) = write_hls("L30"), write_hls("S30")
    build([str(one.parent)], tmp_path / "out", BuildOptions(60))
    assert set(ShardSet(tmp_path / "out").sensors) == {"hls-l30", "hls-s30"}
    next(one.glob("*.B05.tif")).unlink()
    with pytest.raises(SceneError, match="lacks the band B05 of HLS L30"):
        open_scene(one)
    (one / next(two.glob("*.B05.tif")).name).write_bytes(b"x")
    with pytest.raises(SceneError, match="holds 2 HLS granules"):
        open_scene(one)
