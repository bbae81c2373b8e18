import numpy as np
import pytest
import yaml
from rasterio.transform import from_origin

from bandloom.errors import BandloomError
from bandloom.sensors import get_sensor
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene
from bandloom.shards.scenes.bands import band_name

OWN = {
    "name": "own-camera",
    "reflectance": "surface",
    "bands": [
        {"name": "near_ir", "centre_nm": 835, "fwhm_nm": 100, "gsd_m": 10, "slot": "B08"},
        {"name": "ir", "centre_nm": 1600, "fwhm_nm": 100, "gsd_m": 20, "slot": "B11"},
        {"name": "Red", "centre_nm": 665, "fwhm_nm": 40, "gsd_m": 10, "slot": "B04"},
        {"name": "pan", "centre_nm": 600, "fwhm_nm": 300, "gsd_m": 2.5, "slot": None},
    ],
}


@pytest.mark.parametrize(
    ("text", "sensor", "name"),
    [
        ("B04", "landsat89-l1", "B4"),
        ("LC08_L2SP_129050_SR_B4", "landsat89-l2", "B4"),
        ("b10", "landsat89-l1", "B10"),
        ("B1", "landsat89-l1", "B1"),
        ("B4", None, "B04"),
        ("T33_B02_10m", "sentinel2-l2a", "B02"),
        ("B2", "sentinel2-l2a", "B02"),
        ("B8", "sentinel2-l2a", "B08"),
        ("b8a", "sentinel2-l2a", "B8A"),
        ("scene.nir", "theos1", "nir"),
        ("infrared", "theos1", None),
    ],
)
def test_a_band_is_named_the_way_its_sensor_names_it(text, sensor, name):
    assert band_name(text, get_sensor(sensor) if sensor else None) == name


@pytest.mark.parametrize("described", [True, False])
def test_a_landsat_stack_is_read_by_landsats_own_band_names(tmp_path, write_stack, described):
    names = [f"B{k}" for k in range(1, 10)]
    pixels = np.stack([np.full((30, 30), 2000 + 10 * k, np.uint16) for k in range(1, 10)])
    path = write_stack(
        tmp_path / "stack.tif", pixels, names=names if described else None, transform=from_origin(5e5, 5e6, 30, 30)
    )
    order = None if described else ",".join(names)
    with open_scene(path, sensor="landsat89-l1", band_map=order) as scene:
        assert scene.sensor.name == "landsat89-l1"
        groups = scene.read((0, 0, 900, 900))
    np.testing.assert_array_equal(groups[30][:, 3, 3], [2010, 2020, 2030, 2040, 2050, 2090, 2060, 2070])


@pytest.mark.parametrize("form", ["stack", "folder"])
def test_a_users_own_sensor_is_a_yaml_record(tmp_path, write_stack, form):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(OWN))
    pixels = np.stack([np.full((120, 120), 2000 + k, np.uint16) for k in range(3)])

    source = tmp_path / "scenes"
    source.mkdir()
    names = ("near_ir", "ir", "Red")
    if form == "stack":
        write_stack(source / "first.tif", pixels, names=names)
    else:
        for name, band in zip(names, pixels, strict=True):
            (source / "first").mkdir(exist_ok=True)
            write_stack(source / "first" / f"first_{name}.tif", band[None], names=None)
    build([str(source)], tmp_path / "out", BuildOptions(120, sensor=str(tmp_path / "own.yaml")))
    found = ShardSet(tmp_path / "out")
    sample = found.read(0)
    assert [e.key for e in found.entries] == ["first_r0000_c0000"]
    assert {gsd: [int(v) for v in group[:, 0, 0]] for gsd, group in sample.groups.items()} == {
        10: [2002, 2000],
        20: [2001],
    }
    assert found.sensors["own-camera"].band("near_ir").centre_nm == 835


def test_a_yaml_record_that_lacks_a_band_of_the_file_says_so(tmp_path, write_stack):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(OWN))
    write_stack(tmp_path / "scene.tif", names=("near_ir", "green"), pixels=np.full((2, 60, 60), 2000, np.uint16))
    with pytest.raises(BandloomError, match="where sensor 'own-camera' needs 3: ir, Red missing"):
        open_scene(tmp_path / "scene.tif", sensor=str(tmp_path / "own.yaml"))
