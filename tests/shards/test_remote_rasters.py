"""Rasters that are not on this disk: paths that GDAL reads pass through as they are."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from shards.build import build
from shards.plan import BuildOptions
from shards.scenes import open_scene
from shards.shard_set import ShardSet


@pytest.fixture
def served(tmp_path):
    """Serve ``tmp_path`` over HTTP; return its address."""
    script = Path(__file__).with_name("range_server.py")
    with subprocess.Popen([sys.executable, script, tmp_path], stdout=subprocess.PIPE, text=True) as server:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.kill()


@pytest.mark.parametrize("form", ["vsicurl", "http", "vsizip", "vsizip over http"])
def test_paths_that_gdal_reads_give_the_same_pixels_and_build(tmp_path, write_stack, served, form):
    local = write_stack(tmp_path / "scene.tif")
    with zipfile.ZipFile(tmp_path / "scenes.zip", "w") as archive:
        archive.write(local, "inside/scene.tif")
    path = {
        "vsicurl": f"/vsicurl/{served}/scene.tif",
        "http": f"{served}/scene.tif",
        "vsizip": f"/vsizip/{tmp_path}/scenes.zip/inside/scene.tif",
        "vsizip over http": f"/vsizip//vsicurl/{served}/scenes.zip/inside/scene.tif",
    }[form]
    with open_scene(path) as scene, open_scene(local) as wanted:
        got, right = scene.read((0, 0, 1080, 960)), wanted.read((0, 0, 1080, 960))
    assert all(np.array_equal(got[gsd], right[gsd]) for gsd in right)
    build([path], tmp_path / "out", BuildOptions(60))
    assert ShardSet(tmp_path / "out").entries[0].key == "scene_r0000_c0000"


@pytest.mark.parametrize("path", ["/vsicurl/http://127.0.0.1:1/none.tif", "/vsizip/none.zip/a.tif"])
def test_a_remote_path_that_is_not_there_is_one_sentence(path, tmp_path, command):
    code, said = command("shards", "build", path, "--out", tmp_path / "out")
    assert code == 2
    assert "cannot be opened as a raster" in " ".join(said.split())
