"""A scene's values are looked at once while its files stay as they are, and again when anything of them changes."""

import os

import numpy as np
import pytest
import rasterio

from bandloom.errors import SceneError
from bandloom.shards.scenes import SceneOptions, open_scene
from bandloom.shards.scenes import raster as raster_scene
from bandloom.shards.scenes.decided import _KEPT, _MOST, decided_once
from tests.export.stack_file import write_stack


@pytest.fixture
def looks(monkeypatch):
    """Count how often values are looked at."""
    counted, decide = [], raster_scene.RasterScene._decide
    monkeypatch.setattr(raster_scene.RasterScene, "_decide", lambda *told: counted.append(1) or decide(*told))
    return counted


def opened(path, **options):
    with open_scene(str(path), SceneOptions(**options)) as scene:
        return scene.provenance, scene.read((0, 0, scene.width_m, scene.height_m))


def test_the_second_handle_says_and_reads_what_the_first_did_without_another_look(tmp_path, looks):
    path = write_stack(tmp_path / "scene.tif", (120, 120))
    (said, groups), (again, same) = opened(path), opened(path)
    assert len(looks) == 1
    assert said == again
    assert {"offset", "offset_from"} <= said.keys()
    for gsd_m, group in groups.items():
        np.testing.assert_array_equal(group, same[gsd_m])


def test_another_question_of_the_same_files_is_asked_anew(tmp_path, looks):
    path = write_stack(tmp_path / "scene.tif", (120, 120))
    opened(path)
    said, _ = opened(path, offset=-1000)
    assert said["offset_from"] == "--offset"
    assert len(looks) == 2


def test_changed_pixels_and_files_beside_them_are_looked_at(tmp_path, looks):
    path = write_stack(tmp_path / "scene.tif", (120, 120))
    opened(path)
    (tmp_path / "scene.tif.aux.xml").write_text("<PAMDataset/>")
    opened(path)
    assert len(looks) == 2
    with rasterio.open(path, "r+") as file:
        file.write(np.zeros((file.count, file.height, file.width), file.dtypes[0]))
    with pytest.raises(SceneError, match="nodata"):
        opened(path)
    with pytest.raises(SceneError, match="nodata"):  # what was refused is refused again
        opened(path)
    assert len(looks) == 4


def test_what_a_plain_file_does_not_tell_is_never_kept_and_of_others_only_a_few(tmp_path):
    (tmp_path / "a.vrt").touch()
    for files in ([str(tmp_path / "a.vrt")], ["/vsicurl/https://example.org/a.tif"]):
        answers = iter([1, 2])
        assert [decided_once(files, "x", lambda answers=answers: (next(answers), {}))[0] for _ in range(2)] == [1, 2]
    plain = tmp_path / "a.tif"
    plain.write_bytes(b"a")
    for number in range(_MOST + 3):
        decided_once([str(plain)], number, lambda number=number: (number, {}))
    assert len(_KEPT) == _MOST
    os.utime(plain, ns=(1, 1))
    assert decided_once([str(plain)], _MOST + 2, lambda: (-1, {}))[0] == -1
