"""A map as other programs open it."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandloom.export.predict.map_file import class_meaning, write_cog
from tests.export.tiny_model import LABELS


def test_gdal_opens_the_map_with_its_colour_table(tmp_path: Path):
    program = shutil.which("gdalinfo")
    if program is None:
        pytest.skip("no gdalinfo: apt-get install gdal-bin")
    codes = np.random.default_rng(0).choice([*LABELS.codes, 255], (700, 600, 1)).astype(np.uint8)
    meaning = class_meaning(LABELS, CRS.from_epsg(32648), Affine(10, 0, 600000, 0, -10, 1500000), 255, {"SCENE": "s"})
    write_cog(tmp_path / "map.tif", codes, meaning, tmp_path)
    told = json.loads(subprocess.run([program, "-json", tmp_path / "map.tif"], capture_output=True, check=True).stdout)
    assert told["size"] == [600, 700]
    assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    (band,) = told["bands"]
    assert band["colorInterpretation"] == "Palette"
    assert band["noDataValue"] == 255
    assert band["overviews"]
    for land_class, rgb in zip(LABELS.classes, LABELS.rgb.tolist(), strict=True):
        assert band["colorTable"]["entries"][land_class.code] == [*rgb, 255]
        assert band["metadata"][""][f"CLASS_{land_class.code}"] == land_class.name
