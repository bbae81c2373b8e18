"""What a mask of any kind hides is hidden in the map too, in `predict` and in `serve`."""

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle

HOLE = (slice(12, 60), slice(30, 90))
KINDS = ("zeros", "nodata", "internal mask", "mask beside it")


def write_scene(path: Path, kind: str) -> Path:
    """Write a scene whose hole holds values that look measured, but for ``zeros`` and ``nodata``."""
    with rasterio.open(write_stack(path.with_name("plain.tif"), (120, 120))) as plain:
        pixels, profile, names = plain.read(), plain.profile | {"nodata": None}, plain.descriptions
    there = np.full((120, 120), 255, np.uint8)
    there[HOLE] = 0
    if kind in ("zeros", "nodata"):
        pixels[:, there == 0] = 0 if kind == "zeros" else 7
    profile |= {"nodata": 7} if kind == "nodata" else {}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind == "internal mask"),
        rasterio.open(path, "w", **profile) as file,
    ):
        file.write(pixels)
        file.descriptions = names
        file.update_tags(RADIO_ADD_OFFSET="-1000")
        if "mask" in kind:
            file.write_mask(there)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_hidden_has_no_class_and_changes_no_other(bundle, tmp_path, kind):
    scene = write_scene(tmp_path / "scene.tif", kind)
    assert (tmp_path / "scene.tif.msk").exists() == (kind == "mask beside it")
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif", "--confidence") == 0
    (tmp_path / "same").mkdir()
    zeros = write_scene(tmp_path / "same" / "scene.tif", "zeros")
    assert run("predict", bundle, zeros, "--out", tmp_path / "zeros.tif") == 0
    hole = np.zeros((120, 120), bool)
    hole[HOLE] = True
    for name in ("map.tif", "map.confidence.tif", "zeros.tif"):
        with rasterio.open(tmp_path / name) as file:
            np.testing.assert_array_equal(file.read(1) == 255, hole)
    with rasterio.open(tmp_path / "map.tif") as one, rasterio.open(tmp_path / "zeros.tif") as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))


def test_an_uploads_mask_is_obeyed_and_counted(bundle, tmp_path):
    pytest.importorskip("uvicorn", reason="pip install 'bandloom[serve]'")
    from tests.export.serve.server_process import serving

    with serving(bundle) as server:
        for kind in ("internal mask", "nodata"):
            content = write_scene(tmp_path / f"{kind}.tif", kind).read_bytes()
            request = urllib.request.Request(
                f"{server.url}/predict?format=json", content, {"Content-Type": "image/tiff"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                record = json.loads(answer.read())
            assert record["measured_pixels"] == 120 * 120 - 48 * 60, kind
