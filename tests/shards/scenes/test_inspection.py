"""`bandloom doctor SCENE`: what is known of a scene, who said so, and what nobody said."""

import numpy as np
import pytest
import rasterio

from tests.shards.safe_product import native_bands, write_safe


def lines(said):
    return {line[:14].strip(): line[15:] for line in said.splitlines() if len(line) > 15}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_stack_says_what_its_tags_say_and_draws_itself(tmp_path, write_stack, command):
    path = write_stack(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as raster:
        raster.nodata = 0
        raster.write(np.zeros((13, 48, 108), np.uint16), window=((0, 48), (0, 108)))
        raster.update_tags(ACQUISITION_TIME="2024-05-01T10:00:00")
    code, said = command("doctor", path, "--png", tmp_path / "a.png")
    found = lines(said)
    assert code == 0
    assert found["sensor"].startswith("sentinel2-l1c, top of atmosphere reflectance  (its set of bands)")
    assert found["reflectance"] == "(value -1000) / 10000  (RADIO_ADD_OFFSET)"
    assert found["bands 60 m"].startswith("B01=a.tif:1, B09=a.tif:10, B10=a.tif:11")
    assert found["measured"].startswith("50.0%")
    assert found["date"].startswith("2024-05-01T10:00:00")
    assert found["cloud"] == "not said by the source"
    with rasterio.open(path) as raster:
        below = np.percentile(raster.read(2)[48:], (2, 50, 98)) / 1e4 - 0.1
    np.testing.assert_allclose([float(x) for x in found["B02"].split("  (")[0].split()], below, atol=2e-4)
    with rasterio.open(tmp_path / "a.png") as picture:
        rgba = picture.read()
    assert rgba.shape == (4, 96, 108)
    assert (rgba[:, :48] == np.array([160, 32, 96, 255])[:, None, None]).all()


def test_what_nobody_says_is_marked_and_ends_with_2(tmp_path, write_stack, command):
    path = write_stack(tmp_path / "a.tif", tags={})
    code, said = command("doctor", path)
    assert code == 2
    assert lines(said)["reflectance"].endswith("(B10's lowest percentile)  ASSUMED")
    assert "say it with --offset or --scale" in said
    code, said = command("doctor", path, "--scale", "0.0001,-0.1")
    assert (code, lines(said)["reflectance"]) == (0, "0.0001 * value -0.1  (--scale)")


def test_a_product_speaks_for_itself(tmp_path, command):
    root = write_safe(tmp_path, native_bands()) or next(tmp_path.glob("*.SAFE"))
    code, said = command("doctor", root)
    found = lines(said)
    assert code == 0
    assert found["reflectance"] == "(value -1000) / 10000  (the product's metadata)"
    assert found["baseline"].startswith("05.09")
    assert found["cloud"].endswith("(the source's mask)")


def test_a_scene_that_cannot_be_read_says_why(tmp_path, command):
    (tmp_path / "a.tif").write_bytes(b"")
    code, said = command("doctor", tmp_path / "a.tif")
    assert code == 2
    assert "is empty (0 bytes)" in said
