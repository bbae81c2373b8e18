"""Scenes that GDAL reads through the network or out of an archive: the same map, and a sentence when they go away."""

import errno
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bandloom.export.predict import many_scenes
from bandloom.files.output import output_error
from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle

RANGES = Path(__file__).parents[2] / "shards" / "range_server.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote")
    write_tiny_bundle(folder / "tiny")
    write_stack(folder / "scene.tif", (130, 160))
    with zipfile.ZipFile(folder / "scenes.zip", "w") as archive:
        archive.write(folder / "scene.tif", "inside/scene.tif")
    assert run("predict", folder / "tiny", folder / "scene.tif", "--out", folder / "map.tif") == 0
    return folder


@pytest.fixture(scope="module")
def url(place):
    with subprocess.Popen([sys.executable, RANGES, place], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.kill()


def pixels(path):
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.parametrize("form", ["/vsicurl/{url}/scene.tif", "/vsizip/{place}/scenes.zip/inside/scene.tif"])
def test_a_scene_over_http_and_one_inside_an_archive_map_as_the_file_does(place, url, tmp_path, form):
    scene = form.format(place=place, url=url)
    assert run("predict", place / "tiny", scene, "--out", tmp_path / "map.tif", "--readers", "2") == 0
    np.testing.assert_array_equal(pixels(tmp_path / "map.tif"), pixels(place / "map.tif"))


def test_a_list_may_name_remote_scenes(place, url, tmp_path):
    (tmp_path / "list.txt").write_text(f"/vsicurl/{url}/scene.tif\n")
    assert run("predict", place / "tiny", tmp_path / "list.txt", "--out", tmp_path / "maps") == 0
    np.testing.assert_array_equal(pixels(tmp_path / "maps" / "scene.tif"), pixels(place / "map.tif"))


def test_a_scene_that_is_not_there_is_one_sentence(place, url, tmp_path, capsys):
    assert run("predict", place / "tiny", f"/vsicurl/{url}/none.tif", "--out", tmp_path / "map.tif") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "none.tif" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_place_that_takes_no_more_is_accused_once_and_no_scene(place, tmp_path, capsys, monkeypatch, number):
    """Every scene that follows would be mapped for nothing."""
    tried = []

    def refused(bundle, runner, scene, target, options):
        tried.append(scene)
        raise output_error(target, OSError(number, "refused")) from OSError(number, "refused")

    monkeypatch.setattr(many_scenes, "predict_missing", refused)
    for name in ("one", "two"):
        write_stack(tmp_path / f"{name}.tif", (130, 160))
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'one.tif'}\n{tmp_path / 'two.tif'}\n")
    assert run("predict", place / "tiny", tmp_path / "list.txt", "--out", tmp_path / "maps") == 2
    said = capsys.readouterr().err
    assert tried == [str(tmp_path / "one.tif")]
    assert said == f"error: {output_error(tmp_path / 'maps' / 'one.tif', OSError(number, 'refused'))}\n"
