"""Which band of a scene is which: as the map remembers, whatever the product, or else by names."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bandloom.errors import SceneError
from bandloom.sensors import SENSORS
from bandloom.view.class_map import ClassMap
from bandloom.view.scene_bands import SceneBands

PROFILE = {
    "driver": "GTiff",
    "width": 8,
    "height": 8,
    "dtype": "uint16",
    "crs": "EPSG:32648",
    "transform": rasterio.Affine(30, 0, 600000, 0, -30, 1500000),
}
LANDSAT = [
    {"name": band.name, "slot": band.slot, "centre_nm": band.centre_nm}
    for band in SENSORS["landsat89-l2"].bands
    if band.slot
]


def write(path: Path, values: list[int], names: list[str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **PROFILE, count=len(values)) as file:
        for index, value in enumerate(values, 1):
            file.write(np.full((8, 8), value, np.uint16), index)
            if names:
                file.set_band_description(index, names[index - 1])
    return path


def write_landsat(folder: Path) -> Path:
    for number in range(1, 8):
        write(folder / f"LC08_L2SP_001_SR_B{number}.TIF", [1000 * number])
    write(folder / "LC08_L2SP_001_ST_B10.TIF", [9])
    return folder


def spectrum(scene: SceneBands) -> dict[str, tuple[float, int]]:
    west, south, east, north = scene.bounds
    return {each["band"]: (each["nm"], each["dn"]) for each in scene.spectrum((west + east) / 2, (south + north) / 2)}


def test_a_landsat_band_is_its_own_and_not_the_sentinel2_band_of_that_number(tmp_path: Path):
    scene = SceneBands(write_landsat(tmp_path / "product"), LANDSAT)
    found = spectrum(scene)
    assert found["B5"] == (864.7, 5000)
    assert set(found) == {f"B{number}" for number in range(1, 8)}  # the thermal band is none of them
    assert scene.composites()["true colour"] == ("B4", "B3", "B2")
    assert scene.composites()["false colour"] == ("B5", "B4", "B3")
    assert scene.composites()["SWIR"] == ("B7", "B5", "B4")


@pytest.mark.parametrize("packed", [False, True])
def test_files_that_the_map_remembers_are_found_in_a_folder_and_in_an_archive(tmp_path: Path, packed: bool):
    place = tmp_path / "product"
    write(place / "IMG/first.tif", [111])
    write(place / "IMG/second.tif", [222])
    told = [LANDSAT[1] | {"file": "IMG/second.tif", "index": 1}, LANDSAT[3] | {"file": "IMG/first.tif", "index": 1}]
    if packed:
        place = tmp_path / "product.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for name in ("first", "second"):
                archive.write(tmp_path / f"product/IMG/{name}.tif", f"IMG/{name}.tif")
    assert spectrum(SceneBands(place, told)) == {"B2": (482.0, 222), "B4": (654.6, 111)}


def test_a_raster_without_names_is_read_in_the_order_of_the_map(tmp_path: Path):
    told = [LANDSAT[3] | {"file": "", "index": 2}, LANDSAT[0] | {"file": "", "index": 1}]
    assert spectrum(SceneBands(write(tmp_path / "stack.tif", [10, 40]), told)) == {"B1": (443.0, 10), "B4": (654.6, 40)}


def test_another_scene_of_the_same_sensor_is_read_by_the_names_of_its_bands(tmp_path: Path):
    told = [each | {"file": f"LC08_L2SP_999_SR_{each['name']}.TIF", "index": 1} for each in LANDSAT]
    assert spectrum(SceneBands(write_landsat(tmp_path / "later"), told))["B5"] == (864.7, 5000)
    far = [LANDSAT[0] | {"file": "", "index": 9}]
    named = write(tmp_path / "named.tif", [10, 40], ["B1", "B4"])
    assert spectrum(SceneBands(named, far + LANDSAT[1:])) == {"B1": (443.0, 10), "B4": (654.6, 40)}


def test_a_scene_without_any_band_of_the_sensor_is_refused(tmp_path: Path):
    with pytest.raises(SceneError, match="holds no band of the map's sensor \\(B1, B2"):
        SceneBands(write(tmp_path / "dem.tif", [1], ["height"]), LANDSAT)


def test_predict_writes_where_each_band_lies_without_a_path_of_this_machine(chain: Path):
    told = ClassMap(chain / "map.tif").scene_bands
    assert [band["name"] for band in told] == [band.name for band in SENSORS["sentinel2-l1c"].bands]
    assert {band["file"] for band in told} == {f"{band['name']}.tif" for band in told}


@pytest.mark.parametrize("tag", ["", "no JSON", "[1]", json.dumps([{"name": "B1"}]), json.dumps({"a": 1})])
def test_a_map_that_does_not_say_is_taken_for_sentinel2(chain: Path, tmp_path: Path, tag: str):
    with rasterio.open(chain / "map.tif") as source:
        codes, profile = source.read(), source.profile
    with rasterio.open(tmp_path / "map.tif", "w", **profile) as target:
        target.write(codes)
        target.update_tags(SCENE_BANDS=tag)
    assert ClassMap(tmp_path / "map.tif").scene_bands == []
    assert set(SceneBands(next((chain / "data/scenes").iterdir())).bands) == set(SENSORS["sentinel2-l1c"].slots)


def test_what_a_mask_hides_has_no_spectrum_and_no_part_in_the_stretch(tmp_path: Path):
    path = write(tmp_path / "scene.tif", [1200, 1300], ["B02", "B03"])
    known = np.ones((8, 8), bool)
    known[3:6, 3:6] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write(np.where(known, 1200, 40_000).astype(np.uint16), 1)
        file.write_mask(known)
    scene = SceneBands(path)
    assert scene.stretch["B02"] == (1200, 1201)
    assert spectrum(scene) == {}
