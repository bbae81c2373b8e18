"""Where a raster lies: pixels that are not square and places that a coordinate system does not reach are refused."""

import gzip

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin

from bandloom.errors import LabelError, SceneError
from bandloom.sensors import get_sensor
from bandloom.shards.labels.open_labels import label_path
from bandloom.shards.scenes import open_scene
from bandloom.shards.scenes.grid import open_raster

NAMES = get_sensor("sentinel2-l2a").slots


def written(path, crs, transform, side=66):
    values = np.random.default_rng(0).integers(100, 5000, (len(NAMES), side, side)).astype("uint16")
    profile = {"driver": "GTiff", "height": side, "width": side, "count": len(NAMES), "dtype": "uint16", "crs": crs}
    with rasterio.open(path, "w", **profile, transform=transform) as raster:
        raster.write(values)
        raster.descriptions = NAMES
    return path


@pytest.mark.parametrize(("across", "down"), [(10, 20), (20, 10), (10, 10.5), (5, 10)])
def test_pixels_that_are_not_square_are_refused_with_the_command_that_mends_them(tmp_path, across, down):
    path = written(tmp_path / "a.tif", "EPSG:32632", Affine(across, 0, 500_040, 0, -down, 5_300_040))
    with pytest.raises(SceneError, match=rf"has pixels of {across:g} x {down:g} m; expected square ones.*gdalwarp -tr"):
        open_scene(path, offset=0)


def test_pixels_that_are_square_but_for_a_centimetre_are_read(tmp_path):
    path = written(tmp_path / "a.tif", "EPSG:32632", Affine(10.01, 0, 500_040, 0, -9.97, 5_300_040))  # EuroSAT's
    with open_scene(path, offset=0) as scene:
        assert (scene.width_m, scene.height_m) == (660, 660)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", from_origin(10, 90.002, 0.0001, 0.0001)),
        ("EPSG:4326", from_origin(10, -89.999, 0.0001, 0.0001)),
        ("EPSG:4326", from_origin(5, 400, 0.0001, 0.0001)),
        ("EPSG:4326", from_origin(500, 40, 0.0001, 0.0001)),
        ("EPSG:4326", from_origin(365, 40, 0.0001, 0.0001)),  # no longitude of -180 to 180 nor of 0 to 360
        ("EPSG:4326", from_origin(500_000, 5_000_000, 10, 10)),  # metres in a file that says degrees
        ("EPSG:32632", from_origin(1e8, 1e8, 10, 10)),
        ("EPSG:3035", from_origin(1e9, 1e9, 10, 10)),
        ("EPSG:3857", from_origin(1e8, 1e9, 10, 10)),
    ],
)
def test_a_place_that_its_coordinate_system_does_not_reach_is_refused(tmp_path, crs, transform):
    with pytest.raises(SceneError, match="does not reach; mend its corner"):
        open_scene(written(tmp_path / "a.tif", crs, transform), offset=0)


@pytest.mark.parametrize("west", [-180.003, 179.997, 190.0, 350.0, -190.0, 359.997, -360.003])
def test_longitudes_on_either_side_of_180_are_the_ground_that_they_mean(tmp_path, west):
    path = written(tmp_path / "a.tif", "EPSG:4326", from_origin(west, 50, 0.0001, 0.0001))
    with open_scene(path, offset=0) as scene:
        ends = scene.footprint[0], scene.footprint[2]
        middle = (ends[0] + (ends[1] - ends[0]) % 360 / 2 + 180) % 360 - 180
        assert (middle - (west + 0.0033) + 180) % 360 - 180 == pytest.approx(0, abs=0.001)
        pixels = scene.read((0, 0, scene.width_m, scene.height_m))[10]
        assert (pixels > 0).mean() > 0.7


@pytest.mark.parametrize(
    ("name", "said"), [("a.nc", "is a container of 2 data sets.*gdal_translate"), ("a.tif.gz", "unpack it first")]
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_file_that_holds_rasters_inside_is_told_how_they_come_out(tmp_path, name, said):
    path = tmp_path / name
    if name == "a.nc":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for band in ("B02", "B03"):
                file[band] = np.ones((6, 6), np.uint16)
    else:
        path.write_bytes(gzip.compress(b"II*"))
    with pytest.raises(SceneError, match=said):
        open_scene(path)


@pytest.mark.parametrize("marker", [".zgroup", ".zarray", "zarr.json"])
def test_a_zarr_store_of_arrays_is_told_how_they_come_out(tmp_path, marker):
    store = tmp_path / "cube.zarr"
    (store / "labels").mkdir(parents=True)
    (store / marker).write_text("{}")
    advice = r"is a Zarr store and no product.*gdal_translate 'ZARR:\".*cube.zarr\":/labels' NAME.tif"
    for opened in (open_scene, open_raster):
        with pytest.raises(SceneError, match=advice):
            opened(store)
    with pytest.raises(LabelError, match=advice):
        label_path(str(store), str(tmp_path / "scene"), "scene")
