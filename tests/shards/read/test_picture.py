import numpy as np
import pytest
import rasterio

from bandloom.errors import ShardError
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.picture import draw
from bandloom.shards.read.shard_set import ShardSet

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def read(path):
    with rasterio.open(path) as file:
        return np.moveaxis(file.read(), 0, -1)


def test_a_sample_is_drawn_band_by_band_with_its_masks(shards, tmp_path, command):
    found = ShardSet(shards)
    index = found.find("scene_00003_r0001_c0000")
    code, said = command("shards", "show", shards, "scene_00003_r0001_c0000", "--png", tmp_path / "a.png")
    assert code == 0, said
    assert "true colour, near infrared, short-wave infrared, cloud, label" in " ".join(said.split())
    assert "EPSG:32604" in said
    pixels = read(tmp_path / "a.png")
    assert pixels.shape == (240, 5 * 240 + 4 * 6, 3)
    red = found.read(index).groups[10][2].astype(int)
    drawn = pixels[::2, :240:2, 0].astype(int)
    order = np.argsort(red.ravel())
    assert (np.diff(drawn.ravel()[order]) >= 0).all()  # brighter reflectance is never drawn darker
    label = found.read(index).label
    colours = [tuple(int(c.colour[i : i + 2], 16) for i in (1, 3, 5)) for c in found.label_set.classes]
    np.testing.assert_array_equal(pixels[::2, 4 * 246 :: 2], np.array(colours)[label])


def test_sensors_without_a_red_band_and_absent_pixels_are_drawn_too(tmp_path, write_stack):
    (tmp_path / "own.yaml").write_text(
        "{name: one, reflectance: toa, bands: [{name: B11, centre_nm: 1600, fwhm_nm: 90, gsd_m: 20, slot: B11}]}"
    )
    pixels = np.full((1, 30, 30), 2000, np.uint16)
    pixels[0, :6] = 0
    write_stack(tmp_path / "scene.tif", pixels, names=("B11",))
    build([str(tmp_path / "scene.tif")], tmp_path / "out", BuildOptions(60, sensor=str(tmp_path / "own.yaml")))
    assert draw(ShardSet(tmp_path / "out"), 0, tmp_path / "a.png") == ["B11"]
    drawn = read(tmp_path / "a.png")
    assert tuple(drawn[0, 0]) == (160, 32, 96)
    assert tuple(drawn[100, 0]) == (0, 0, 0)


def test_a_key_that_is_not_there_offers_the_nearest(shards):
    found = ShardSet(shards)
    assert found.find("5") == 5
    with pytest.raises(ShardError, match="holds no sample 'scene_00003_r0001_c000' among its 24"):
        found.find("scene_00003_r0001_c000")
