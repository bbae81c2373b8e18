"""Rasters that are not on this disk: paths that GDAL reads pass through as they are."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene
from tests.shards.safe_product import native_bands, write_safe, zipped


@pytest.fixture
def served(tmp_path):
    """Serve ``tmp_path`` over HTTP; return its address."""
    script = Path(__file__).parents[1] / "range_server.py"
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


REMOTE = (
    "/vsizip//vsicurl/{url}",
    "/vsizip/{{/vsicurl/{url}}}",
    "/vsizip//vsicurl/{url}/{folder}",
    "/vsicurl/{url}",
    "{url}",
)


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return write_safe(tmp_path_factory.mktemp("product"), native_bands())


@pytest.mark.parametrize("form", REMOTE)
def test_a_safe_zip_behind_an_address_is_the_product_with_its_checksums(tmp_path, product, served, form):
    name = zipped(product).name
    shutil.move(product.with_suffix(".zip"), tmp_path / name)
    path, window = form.format(url=f"{served}/{name}", folder=product.name), (0, 0, 1020, 1020)
    with open_scene(path) as scene, open_scene(product) as wanted:
        got, right = scene.read(window), wanted.read(window)
        assert all(np.array_equal(got[gsd], right[gsd]) for gsd in right)
        np.testing.assert_array_equal(scene.cloud(window), wanted.cloud(window))
        assert scene.provenance | {"source": str(product)} == wanted.provenance
        assert scene.provenance["verified_files"] == 13
        assert scene.name == wanted.name


def test_a_remote_safe_builds_the_samples_of_the_local_one(tmp_path, product, served):
    shutil.move(zipped(product), tmp_path / f"{product.stem}.zip")
    for name, path in (("near", product), ("far", f"/vsizip//vsicurl/{served}/{product.stem}.zip")):
        build([str(path)], tmp_path / name, BuildOptions(60))
    near, far = ShardSet(tmp_path / "near"), ShardSet(tmp_path / "far")
    assert [entry.xxh3 for entry in near.entries] == [entry.xxh3 for entry in far.entries]
    assert [entry.key for entry in near.entries] == [entry.key for entry in far.entries]


def test_a_damaged_band_of_a_remote_safe_is_found_by_its_manifest(tmp_path, product, served):
    copy = tmp_path / "copy" / product.name
    shutil.copytree(product, copy)
    image = next(copy.rglob("*_B03.jp2"))
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 1
    image.write_bytes(content)
    shutil.move(zipped(copy), tmp_path / f"{product.stem}.zip")
    with pytest.raises(SceneError, match=r"_B03\.jp2 is damaged \(its MD5 is not the manifest's\)"):
        open_scene(f"{served}/{product.stem}.zip")


def test_a_remote_safe_that_is_not_there_is_one_sentence(served):
    with pytest.raises(SceneError, match=r"cannot be read .*404.*check the address"):
        open_scene(f"/vsizip//vsicurl/{served}/S2A_MSIL1C_nothing.zip")
