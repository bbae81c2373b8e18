"""Files of features are whole or not there, and a full disk is one sentence whatever the library says of it."""

import os
import subprocess

import numpy as np
import pytest

from bandloom.errors import OutputError
from bandloom.export.maps import feature_file
from bandloom.export.maps.feature_file import FEATURE_SUFFIXES, FeatureLayer, write_features

pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")
from rasterio.crs import CRS  # noqa: E402

SIDES = np.arange(1.0, 301.0)
BOXES = shapely.to_wkb(shapely.box(0, 0, SIDES, SIDES))
LAYER = FeatureLayer("boxes", "Polygon", CRS.from_epsg(32633), {"side": "float64", "name": "string"})
BATCHES = [(BOXES, {"side": SIDES, "name": [f"box of {side} m" for side in SIDES]})]


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
@pytest.mark.parametrize("kept", [0.5, 0.93, 0.995])
def test_a_file_that_lost_its_end_when_it_was_closed_gets_no_name(tmp_path, monkeypatch, suffix, kept):
    """GDAL writes the end of a FlatGeobuf as it closes it, and of a full disk it tells nobody then."""
    write = feature_file._write_ogr

    def cut(made, *rest):
        write(made, *rest)
        os.truncate(made, int(kept * made.stat().st_size))

    monkeypatch.setattr(feature_file, "_write_ogr", cut)
    if suffix == ".gpkg" and kept > 0.9:
        pytest.skip("SQLite tells of every page, and the last ones hold no feature")
    with pytest.raises(OutputError, match=rf"out\{suffix} cannot be written"):
        write_features(tmp_path / f"out{suffix}", LAYER, BATCHES)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
@pytest.mark.parametrize("suffix", [suffix for suffix in FEATURE_SUFFIXES if suffix != ".geoparquet"])
def test_a_disk_that_is_full_at_any_point_is_one_sentence(tmp_path, suffix):
    disk, whole = tmp_path / "disk", tmp_path / f"whole{suffix}"
    disk.mkdir()
    write_features(whole, LAYER, BATCHES)
    size = whole.stat().st_size
    for share in (0.02, 0.3, 0.6, 0.9, 0.97, 1.0, 1.05):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={max(4096, int(share * size) // 4096 * 4096)}", "tmpfs", disk]
        if subprocess.run(mount, check=False).returncode:
            pytest.skip("tmpfs cannot be mounted here")
        try:
            out = disk / f"out{suffix}"
            said = ""
            try:
                write_features(out, LAYER, BATCHES)
            except OutputError as cause:
                said = str(cause)
            if said:
                assert said == f"the disk is full while writing {out}; free some space and run it again."
                assert not list(disk.iterdir())
            else:  # what is written on the way makes room before the end
                assert share > 0.9
                assert len(pyogrio.raw.read(out)[2]) == len(SIDES)
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
