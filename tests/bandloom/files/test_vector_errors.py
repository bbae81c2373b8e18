"""A GeoPackage that another program writes, or that is damaged, is told in words that say what to do."""

import subprocess
import sys

import numpy as np
import pytest
from rasterio.crs import CRS

from bandloom.errors import LabelError
from bandloom.export.maps.feature_file import FeatureLayer, write_features
from bandloom.files.points_file import read_points_file
from bandloom.shards.labels.reading import LabelReading
from bandloom.shards.labels.vector_file import read_drawing

pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")


@pytest.fixture(name="package")
def a_package(tmp_path):
    places = shapely.to_wkb(shapely.points(np.arange(300.0) / 10, np.arange(300.0) / 10))
    layer = FeatureLayer("points", "Point", CRS.from_epsg(4326), {"class": "string"})
    write_features(tmp_path / "points.gpkg", layer, [(places, {"class": ["water"] * 300})])
    return tmp_path / "points.gpkg"


def said(path):
    told = []
    for read in (read_points_file, lambda path: read_drawing(path, LabelReading())):
        with pytest.raises(LabelError) as caught:
            read(path)
        told.append(str(caught.value))
    assert told[0] == told[1]
    return told[0]


def test_one_that_is_being_written_says_by_whom(package):
    program = (
        "import sqlite3, sys\n"
        "file = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "file.execute('BEGIN EXCLUSIVE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program, str(package)], **pipes) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert said(package) == (
            f"{package} is being written by another program, such as QGIS; save and close it there, and run this again."
        )
        other.communicate("")
    assert len(read_points_file(package)) == 300


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_one_that_was_cut_off_says_so(package, kept):
    whole = package.read_bytes()
    package.write_bytes(whole[: int(kept * len(whole))])
    assert "is damaged, cut off or of another kind than its ending says" in said(package)


def test_an_empty_one_says_so(package):
    package.write_bytes(b"")
    assert said(package) == f"{package} is empty (0 bytes); fetch it again."


def test_every_page_of_which_something_is_lost_is_missed_or_holds_no_feature(package):
    """Nothing that is read is another than what was written, whatever page of the file is zero."""
    whole, expected = package.read_bytes(), read_drawing(package, LabelReading())
    for page in range(1, len(whole) // 4096):
        package.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        try:
            found = read_drawing(package, LabelReading())
        except LabelError:
            continue
        assert (found.geometries, found.values) == (expected.geometries, expected.values)
