import functools
import math

import numpy as np
import pytest

from bandloom.errors import SceneError
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene
from tests.shards.landsat_product import ELEVATION, tarred
from tests.shards.landsat_product import write_landsat as write_product


@pytest.fixture
def write_landsat(tmp_path):
    return functools.partial(write_product, tmp_path)


@pytest.mark.parametrize("form", ["json", "txt"])
def test_level_1_is_divided_by_the_sine_of_the_suns_elevation(write_landsat, form):
    root, stored = write_landsat(form=form)
    with open_scene(root) as scene:
        (red, pixels), time = (3, scene.read((0, 0, 1260, 1140))[30]), scene.datetime
        assert (scene.sensor.name, scene.width_m, scene.height_m) == ("landsat89-l1", 1230, 1110)
    assert pixels.shape == (8, 38, 42)
    wanted = np.rint((2e-5 * stored[4] - 0.1) / math.sin(math.radians(ELEVATION)) * 1e4) + 1000
    got = pixels[red, :37, :41]
    assert (got[0, 0], got[3, 3], pixels[0, 3, 3] < 65535) == (0, 65535, True)
    wanted[0, 0], wanted[3, 3] = 0, 65535
    np.testing.assert_array_equal(got, wanted)
    assert pixels[:, 37:].max() == 0
    assert time.isoformat().startswith("2024-01-10T03:27:39.123")


def test_level_2_in_a_tar_is_scaled_as_it_says_and_its_clouds_are_known(write_landsat):
    root, stored = write_landsat("2")
    with open_scene(tarred(root)) as scene:
        pixels, cloud = scene.read((0, 0, 1260, 1140))[30], scene.cloud((0, 0, 1260, 1140))
    assert scene.sensor.name == "landsat89-l2"
    wanted = np.rint((2.75e-5 * stored[5] - 0.2) * 1e4) + 1000
    np.testing.assert_array_equal(pixels[4, 5:37, 5:41], wanted[5:, 5:])
    assert cloud.shape == (114, 126)
    assert cloud.sum() == 9
    assert cloud[3:6, 3:6].all()


def test_other_collections_and_missing_files_are_refused(write_landsat, tmp_path):
    root, _ = write_landsat(collection="01")
    with pytest.raises(SceneError, match="of collection 01; expected Collection 2"):
        open_scene(root)
    text = next(root.glob("*_MTL.json"))
    text.write_text(text.read_text().replace('"COLLECTION_NUMBER": "01"', '"COLLECTION_NUMBER": "02"'))
    next(root.glob("*_B6.TIF")).unlink()
    with pytest.raises(SceneError, match=r"lacks .*_B6\.TIF"):
        open_scene(root)
    text.unlink()
    with pytest.raises(SceneError, match="no MTL metadata"):
        open_scene(root)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"REFLECTANCE_MULT_BAND_4": "2e-05"', '"REFLECTANCE_MULT_BAND_4": "6e-05"', "where Collection 2 has"),
        ('_B4.TIF", "FILE', '_B5.TIF", "FILE', r"_B5\.TIF where a file ending in _B4\.TIF belongs"),
        (f'"{ELEVATION}"', '"148.5"', "its metadata is damaged"),
        (f'"{ELEVATION}"', '"high"', "does not state the sun's elevation"),
    ],
)
def test_metadata_that_no_product_of_collection_2_has_is_refused(write_landsat, old, new, sentence):
    root, _ = write_landsat()
    text = next(root.glob("*_MTL.json"))
    assert old in text.read_text()
    text.write_text(text.read_text().replace(old, new))
    with pytest.raises(SceneError, match=sentence):
        open_scene(root)


def test_landsat_and_sentinel_2_share_a_shard_folder(write_landsat, write_stack, tmp_path):
    root, _ = write_landsat()
    stack = write_stack(tmp_path / "s2.tif")
    build([str(root), str(stack)], tmp_path / "out", BuildOptions(120))
    found = ShardSet(tmp_path / "out")
    assert set(found.sensors) == {"landsat89-l1", "sentinel2-l1c"}
    assert found.read(0).groups[30].shape == (8, 40, 40)
    assert "B8A" in found.statistics["mean"]
