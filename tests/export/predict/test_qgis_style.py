"""A map's style, read by QGIS itself where it is installed."""

import shutil
import subprocess
import textwrap
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.export.predict.qgis_style import style

LABELS = LabelSet("two", (LabelClass(3, 'wheat & "rye" <new>', "#ABCDEF"), LabelClass(7, "forêt", "#102030")))
ASK_QGIS = textwrap.dedent("""
    import os, sys
    from qgis.core import QgsApplication, QgsRasterLayer
    application = QgsApplication([], False)
    application.initQgis()
    layer = QgsRasterLayer(sys.argv[1], "map")
    renderer = layer.renderer()
    print(renderer.type())
    for each in renderer.classes():
        print(int(each.value), each.color.name(), each.label)
    sys.stdout.flush()
    os._exit(0)  # its own end depends on the order in which Python drops its objects
""")


def test_a_style_holds_every_class_with_its_code_name_and_colour(tmp_path: Path):
    (tmp_path / "map.qml").write_text(style(LABELS), encoding="utf-8")
    entries = xml.parse(tmp_path / "map.qml").getroot().iter("paletteEntry")
    assert [(e.get("value"), e.get("color"), e.get("label")) for e in entries] == [
        ("3", "#abcdef", 'wheat & "rye" <new>'),
        ("7", "#102030", "forêt"),
    ]


def test_a_style_begins_as_qgis_expects(tmp_path: Path):
    assert style(LABELS).startswith("<!DOCTYPE qgis ")


def test_qgis_opens_the_map_with_its_classes(tmp_path: Path):
    import numpy as np
    import rasterio

    python = shutil.which("python3", path="/usr/bin")
    asked = [python or "", "-c", "import qgis.core"]
    if python is None or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("no QGIS: apt-get install python3-qgis")
    profile = {
        "driver": "GTiff",
        "height": 4,
        "width": 4,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:32648",
        "transform": rasterio.Affine(10, 0, 600000, 0, -10, 1500000),
    }
    with rasterio.open(tmp_path / "map.tif", "w", **profile) as file:
        file.write(np.full((4, 4), 3, np.uint8), 1)
    (tmp_path / "map.qml").write_text(style(LABELS), encoding="utf-8")
    environment = {
        "QT_QPA_PLATFORM": "offscreen",
        "HOME": str(tmp_path),
        "PATH": "/usr/bin",
        "LC_ALL": "C.UTF-8",
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    said = subprocess.run(
        [python, "-c", ASK_QGIS, str(tmp_path / "map.tif")], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == ["paletted", '3 #abcdef wheat & "rye" <new>', "7 #102030 forêt"]
