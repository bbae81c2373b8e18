import numpy as np
import pytest
import rasterio
import torch
from PIL import Image as Picture

from bandloom.errors import OutputError, TextError
from bandloom.finetune.text.aligned_model import save_aligned
from bandloom.finetune.text.model import unit
from bandloom.finetune.text.search.similarity_map import coloured, map_words, measured_tokens, picture_paths
from bandloom.shards.scenes import open_scene
from tests.finetune.text.aligned_models import aligned
from tests.finetune.text.test_zeroshot import main_exits


def test_every_token_has_the_cosine_of_its_own_vector_at_its_place(tmp_path, scenes_folder):
    model, source = aligned(), sorted((scenes_folder / "scenes").iterdir())[0]
    written = map_words(model, source, ["water", "forest"], tmp_path / "map.tif")
    assert [path.name for path in written] == ["map.tif", "map-water.png", "map-forest.png"]
    with rasterio.open(tmp_path / "map.tif") as file, open_scene(source) as scene:
        planes = file.read()
        assert file.descriptions == ("water", "forest")
        assert (file.crs, file.transform.a) == (scene.crs, 60.0)
        assert (file.transform.c, file.transform.f) == (scene.transform.c, scene.transform.f)
        assert planes.shape == (2, 40, 40)
        groups = scene.read((480.0, 960.0, 240.0, 240.0))  # the chip of tokens 16.. down and 8.. across
    chip = {gsd: torch.from_numpy(group[None]) for gsd, group in groups.items()}
    with torch.no_grad():
        tokens = unit(model.model.tokens(chip))[0].numpy()
    expected = model.text(["water", "forest"]) @ tokens.T
    assert np.allclose(planes[:, 16:20, 8:12].reshape(2, -1), expected, atol=1e-5)
    assert np.isfinite(planes).all()
    with Picture.open(tmp_path / "map-water.png") as picture:
        assert picture.size == (40, 40)
        assert len(set(picture.getdata())) > 100


def test_two_queries_never_share_a_picture(tmp_path):
    queries = ["open water", "open-water!", "ป่าไม้", "ทะเล", "?", "!", "open water"]
    paths = picture_paths(tmp_path / "w.tif", queries)
    assert len(set(paths)) == len(queries)
    assert [path.name for path in paths[:2]] == ["w-open-water.png", "w-open-water-2.png"]
    assert [path.name for path in paths[3:6]] == ["w-ทะเล.png", "w--5.png", "w--6.png"]


def test_a_picture_that_is_there_is_kept_and_nothing_is_written(tmp_path, scenes_folder):
    (tmp_path / "w-water.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"w-water.png exists already"):
        map_words(aligned(), sorted((scenes_folder / "scenes").iterdir())[0], ["water"], tmp_path / "w.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["w-water.png"]


def test_colours_rise_with_the_cosine_and_leave_what_is_unknown_clear():
    plane = np.linspace(-1, 1, 100, dtype=np.float32).reshape(10, 10)
    plane[0, 0] = np.nan
    found = coloured(plane)
    assert found[0, 0, 3] == 0
    assert (found[9, 9] == (253, 231, 37, 255)).all()
    assert (np.diff(found[..., :3].astype(int).sum(-1).ravel()[5:]) >= 0).mean() > 0.9


def test_a_token_counts_as_seen_when_one_sample_was_measured():
    groups = {10: np.zeros((1, 12, 12), np.uint16), 60: np.zeros((1, 2, 2), np.uint16)}
    groups[10][0, 3, 9] = 1200
    groups[60][0, 1, 0] = 65535
    assert measured_tokens(groups, 60).tolist() == [[False, True], [False, False]]


def test_the_command_maps_words_and_says_what_is_missing(tmp_path, scenes_folder, capsys):
    save_aligned(tmp_path / "run" / "checkpoint", aligned())
    source = str(sorted((scenes_folder / "scenes").iterdir())[0])
    out = ["--map-out", str(tmp_path / "w.tif")]
    main_exits(["zeroshot", str(tmp_path / "run"), "--map", source, "--query", "water", "--query", "city", *out])
    assert (tmp_path / "w-city.png").is_file()
    main_exits(["zeroshot", str(tmp_path / "run"), "--map", source, *out], 2)
    assert "add --query WORDS" in capsys.readouterr().err


def test_a_scene_of_another_sensor_is_refused(tmp_path, scenes_folder):
    from dataclasses import replace

    model = aligned()
    model.model.sensor = replace(model.model.sensor, name="another")
    with pytest.raises(TextError, match="the model of another"):
        map_words(model, sorted((scenes_folder / "scenes").iterdir())[0], ["water"], tmp_path / "m.tif")
