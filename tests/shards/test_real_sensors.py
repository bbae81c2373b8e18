"""Sensors other than Sentinel-2 on real pixels: Landsat 8's numbers in today's layout, Landsat 7 by a user's record."""

import json

import numpy as np
import pytest
import rasterio
import yaml

from bandloom.sensors import SENSORS
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene
from tests.shards.landsat_product import write_landsat

LANDSAT_7 = (
    ("b1", 483, 70, "B02"),
    ("b2", 560, 80, "B03"),
    ("b3", 662, 60, "B04"),
    ("b4", 835, 120, "B8A"),
    ("b5", 1648, 200, "B11"),
    ("b7", 2206, 260, "B12"),
    ("b6", 11450, 2100, None),
    ("mask", 1, 1, None),
)
LABELS = {1: "forest", 2: "water", 3: "herbaceous", 4: "barren", 5: "urban"}


@pytest.fixture
def landsat_7(tmp_path):
    """A user's record of Landsat 7's surface reflectance, and the label set of the real labels."""
    bands = [
        dict(zip(("name", "centre_nm", "fwhm_nm", "gsd_m", "slot"), (n, c, w, 30, s), strict=True))
        for n, c, w, s in LANDSAT_7
    ]
    sensor, labels = tmp_path / "landsat7.yaml", tmp_path / "labels.yaml"
    sensor.write_text(yaml.safe_dump({"name": "landsat7-sr", "reflectance": "surface", "bands": bands}))
    classes = [{"code": code, "name": name, "colour": f"#{code * 40:02x}8040"} for code, name in LABELS.items()]
    labels.write_text(yaml.safe_dump({"name": "landsat7", "classes": classes, "ignore": [0]}))
    return str(sensor), str(labels)


def test_a_real_landsat_7_scene_is_read_by_a_users_record_with_its_labels(real, landsat_7, tmp_path):
    scene, labels = (real / "landsat7_lulc" / n for n in ("LE70220491999322EDC01_stack.tif", "training_data.tif"))
    order = ",".join(row[0] for row in LANDSAT_7)
    options = BuildOptions(240, landsat_7[0], order, 0, str(labels), landsat_7[1])
    build([str(scene)], tmp_path / "out", options)
    found = ShardSet(tmp_path / "out")
    assert len(found) == 16
    with rasterio.open(scene) as raster, rasterio.open(labels) as drawn:
        stored, codes = raster.read([1, 2, 3, 4, 5, 6]).astype(int), drawn.read(1)
    for index, entry in enumerate(found.entries):
        row, column = (int(part[1:]) * 80 for part in entry.key.split("_")[-2:])
        part = stored[:, row : row + 80, column : column + 80]
        sample = found.read(index)
        wanted = np.where(part == -9999, 0, part + 1000)
        np.testing.assert_array_equal(sample.groups[30][:, : part.shape[1], : part.shape[2]], wanted)
        assert not sample.groups[30][:, part.shape[1] :].any()
        told = codes[row : row + 80, column : column + 80]
        seen = sample.label[::3, ::3][: told.shape[0], : told.shape[1]]
        np.testing.assert_array_equal(seen[told > 0], told[told > 0] - 1)
        assert (seen[told == 0] == 255).all()


def test_real_landsat_8_numbers_become_the_reflectance_that_usgs_defines(real, tmp_path):
    folder = real / "landsat8_l1"
    sections = json.loads((folder / "LC80460282016177LGN00_MTL.json").read_text())["L1_METADATA_FILE"]
    elevation = sections["IMAGE_ATTRIBUTES"]["SUN_ELEVATION"]
    root, _ = write_landsat(tmp_path)
    real_dn = {}
    for band in (2, 3, 4):
        with rasterio.open(folder / f"LC80460282016177LGN00_B{band}.TIF") as raster:
            real_dn[band] = raster.read(1)[600:637, 700:741]
        with rasterio.open(root / f"{root.name}_B{band}.TIF", "r+") as file:
            file.write(real_dn[band], 1)
    file = root / f"{root.name}_MTL.json"
    record = json.loads(file.read_text())
    record["LANDSAT_METADATA_FILE"]["IMAGE_ATTRIBUTES"]["SUN_ELEVATION"] = str(elevation)
    scale = sections["RADIOMETRIC_RESCALING"]  # the old collection scales as Collection 2 does
    record["LANDSAT_METADATA_FILE"]["LEVEL_SURFACE"] |= {k: str(v) for k, v in scale.items() if "REFLECTANCE" in k}
    file.write_text(json.dumps(record))
    with open_scene(root) as scene:
        groups = scene.read((0, 0, 1260, 1140))
        assert scene.provenance["sun_degrees"]["elevation"] == elevation
    rows = {slot: row for row, slot in enumerate(SENSORS["landsat89-l1"].groups[0].slots)}
    for band, slot in ((2, "B02"), (3, "B03"), (4, "B04")):
        reflectance = (2e-5 * real_dn[band] - 0.1) / np.sin(np.radians(elevation))
        assert 0.03 < np.median(reflectance) < 0.3  # ground in summer, under its air
        got = groups[30][rows[slot], :37, :41]
        same = got[5:] == np.rint(reflectance * 1e4)[5:] + 1000  # the quality rasters mark some of the first rows
        assert same.all()
