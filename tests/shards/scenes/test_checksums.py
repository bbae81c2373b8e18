import hashlib

import pytest

from bandloom.errors import SceneError
from bandloom.shards.scenes import open_scene
from bandloom.shards.scenes.checksums import check_beside


def damage(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "algorithm", "line"),
    [
        ("SHA256SUMS", "sha256", "{0}  scene.tif\n"),
        ("MD5SUMS", "md5", "{0} *./scene.tif\n"),
        ("scene.tif.sha256", "sha256", "{0}\n"),
        ("scene.tif.md5", "md5", "{0}  scene.tif\n"),
    ],
)
def test_a_raster_is_held_against_the_checksums_beside_it(tmp_path, write_stack, name, algorithm, line):
    path = write_stack(tmp_path / "scene.tif")
    assert not check_beside(path)
    (tmp_path / name).write_text("ab  other.tif\n" + line.format(hashlib.new(algorithm, path.read_bytes()).hexdigest()))
    assert check_beside(path)
    with open_scene(path) as scene:
        assert scene.width_m == 1080
    damage(path)
    with pytest.raises(SceneError, match=f"its {algorithm} is not the one listed beside it"):
        open_scene(path)


def test_lists_of_other_files_say_nothing(tmp_path, write_stack):
    path = write_stack(tmp_path / "scene.tif")
    (tmp_path / "SHA256SUMS").write_text("ab  other.tif\n\n")
    assert not check_beside(path)
