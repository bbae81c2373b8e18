import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bandloom.cli import main
from bandloom.errors import SceneError
from bandloom.shards.synth import VERSION, label_set, synthesise
from bandloom.shards.synth.write import place

FROZEN = json.loads(Path(__file__).with_name("synth_v1.json").read_text())


def test_the_generator_is_frozen_to_within_a_rounding_of_the_last_digit():
    scene = synthesise(60, 11, acquisition=1, cloud_fraction=0.1)
    assert VERSION == 1
    for gsd_m, pixels in scene.groups.items():
        np.testing.assert_allclose(pixels.mean((1, 2)), FROZEN["mean"][str(gsd_m)], atol=0.5)
        step = max(1, pixels.shape[1] // 4)
        probe = pixels[:, ::step, ::step].ravel()[:64].astype(int)
        assert (np.abs(probe - FROZEN["probe"][str(gsd_m)]) <= 2).mean() > 0.98
    codes, counts = np.unique(scene.label, return_counts=True)
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        assert abs(count - FROZEN["label"].get(str(code), 0)) <= 7  # 0.2 % of the pixels
    assert abs(int(scene.cloud.sum()) - FROZEN["cloud"]) <= 7


def test_a_scene_holds_native_groups_of_one_ground_and_known_classes():
    scene = synthesise(96, 3)
    assert {g: a.shape for g, a in scene.groups.items()} == {10: (4, 96, 96), 20: (6, 48, 48), 60: (3, 16, 16)}
    assert all(a.dtype == np.uint16 and a.min() > 0 for a in scene.groups.values())
    assert set(np.unique(scene.label)) <= set(label_set().codes)


def test_another_acquisition_is_the_same_ground_under_another_sky():
    one, two = synthesise(96, 5), synthesise(96, 5, acquisition=1)
    np.testing.assert_array_equal(one.label, two.label)
    assert np.abs(one.groups[10].astype(int) - two.groups[10].astype(int)).mean() > 20


def test_thirteen_bands_tell_pixels_apart_that_the_visible_ones_do_not():
    from sklearn.linear_model import LogisticRegression

    def pixels(seeds):
        features, labels = [], []
        for seed in seeds:
            scene = synthesise(144, seed)
            ten = [scene.groups[g].repeat(g // 10, 1).repeat(g // 10, 2) for g in (10, 20, 60)]
            features.append(np.concatenate(ten)[:, ::4, ::4].reshape(13, -1).T / 1000.0)
            labels.append(scene.label[::4, ::4].ravel())
        return np.concatenate(features), np.concatenate(labels)

    (x, y), (held_x, held_y) = pixels(range(6)), pixels(range(6, 9))
    mean, deviation = x.mean(0), x.std(0)
    x, held_x = (x - mean) / deviation, (held_x - mean) / deviation
    all_bands = LogisticRegression(max_iter=2000).fit(x, y).score(held_x, held_y)
    visible = LogisticRegression(max_iter=2000).fit(x[:, :3], y).score(held_x[:, :3], held_y)
    assert all_bands > visible + 0.1


def test_sizes_that_hold_no_whole_token_are_refused():
    with pytest.raises(SceneError, match="multiple of 6"):
        synthesise(100, 0)


def test_neighbouring_seeds_lie_in_different_degree_cells():
    assert len({place(seed) for seed in range(200)}) == 200


def test_the_command_writes_rasters_at_native_sampling_with_the_offset_tag(tmp_path):
    out = tmp_path / "synth"
    with pytest.raises(SystemExit) as stop:
        main(["shards", "synth", "--out", str(out), "--scenes", "2", "--size", "48"])
    assert not stop.value.code
    folders = sorted((out / "scenes").iterdir())
    assert [f.name for f in folders] == ["scene_00000", "scene_00001"]
    with rasterio.open(folders[0] / "B05.tif") as raster:
        assert (raster.res, raster.shape, raster.tags()["RADIO_ADD_OFFSET"]) == ((20.0, 20.0), (24, 24), "-1000")
    with rasterio.open(out / "labels" / "scene_00001.tif") as raster:
        assert (raster.dtypes[0], raster.shape) == ("uint8", (48, 48))
