import logging
from dataclasses import replace

import numpy as np
import pytest

from bandloom.errors import TextError
from bandloom.finetune.text.search.images import BATCH, Image, _of_shards, image_at, images_of, vectors_of
from bandloom.sensors import get_sensor
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.scenes import open_scene
from tests.export.stack_file import write_stack
from tests.finetune.models import S2
from tests.finetune.text.aligned_models import aligned


@pytest.fixture(scope="module", name="scene")
def a_scene(scenes_folder):
    return sorted((scenes_folder / "scenes").iterdir())[0]


def test_shards_give_their_samples_with_class_and_place(chip_shards):
    shards = ShardSet(chip_shards)
    kept = [(i, entry) for i, entry in enumerate(shards.entries) if entry.split != "duplicate"]
    found = list(images_of(aligned(), chip_shards))
    assert [image.key for image in found] == [entry.key for _, entry in kept]
    for image, (index, entry) in zip(found, kept, strict=True):
        assert (image.x_m, image.y_m, image.side_m) == (entry.x_m, entry.y_m, 240)
        assert image.class_name == shards.label_set.names[entry.class_index]
        for gsd, group in shards.read(index).groups.items():
            assert np.array_equal(image.groups[gsd], group)


def test_a_larger_sample_gives_its_middle_on_the_60_m_grid(scene_shards):
    shards, (image, *_) = ShardSet(scene_shards), list(images_of(aligned(chip_px=24), scene_shards))
    entry = shards.entries[0]
    inset = (120 - 24) // 2 // 6 * 6 * 10
    assert (image.x_m - entry.x_m, entry.y_m - image.y_m) == (inset, inset)
    whole = shards.read(0).groups
    for gsd, group in image.groups.items():
        first, side = inset // gsd, 240 // gsd
        assert np.array_equal(group, whole[gsd][:, first : first + side, first : first + side])


def test_a_scene_is_cut_into_squares_row_by_row(scene):
    found = list(images_of(aligned(), scene))
    with open_scene(scene) as opened:
        across, down = int(opened.width_m) // 240, int(opened.height_m) // 240
        assert len(found) == across * down
        for at in (0, 1, across, len(found) - 1):
            row, column = divmod(at, across)
            expected = opened.read((column * 240, row * 240, 240, 240))
            assert found[at].key.endswith(f"_{row:04d}_{column:04d}")
            assert found[at].x_m == opened.transform.c + column * 240
            assert found[at].y_m == opened.transform.f - row * 240
            for gsd, group in found[at].groups.items():
                assert np.array_equal(group, expected[gsd])


def test_a_chip_is_read_again_from_what_an_index_says(scene, scene_shards):
    for source in (scene, scene_shards):
        image = list(images_of(aligned(), source))[3]
        record = {name: value for name, value in vars(image).items() if name != "groups"}
        for gsd, group in image_at(record, 24).items():
            assert np.array_equal(group, image.groups[gsd])


def test_vectors_come_in_batches_in_order_and_pixels_are_let_go(scene):
    model, images = aligned(), list(images_of(aligned(), scene))[: BATCH + 2]
    batches = list(vectors_of(model, iter(images)))
    assert [len(vectors) for _, vectors in batches] == [BATCH, 2]
    assert [image.key for kept, _ in batches for image in kept] == [image.key for image in images]
    assert all(image.groups == {} for kept, _ in batches for image in kept)
    alone = next(vectors_of(model, [images[BATCH]]))[1]
    assert batches[1][1][:1] == pytest.approx(alone, abs=1e-5)


def test_pixels_are_no_part_of_what_an_image_shows():
    image = Image("k", "s", "sensor", 0, 0.0, 0.0, 240.0, "", None, {10: np.zeros((1, 1, 1), np.uint16)})
    assert "groups" not in repr(image)


def test_ground_that_makes_no_whole_chip_is_left_out_and_said(tmp_path, caplog):
    scene = write_stack(tmp_path / "scene.tif", (60, 72))
    assert len(list(images_of(aligned(), scene))) == 2 * 3
    assert "0 m at the right and 120 m below make no whole chip of 240 m and are left out" in caplog.text
    small = write_stack(tmp_path / "small.tif", (12, 60))
    (chip, *_) = images_of(aligned(), small)
    assert "small.tif is 600 x 120 m; what its chip of 240 m lacks counts as not measured" in caplog.text
    assert not chip.groups[10][:, 12:].any()


def test_samples_marked_as_duplicates_are_left_out_and_said(chip_shards, caplog):
    shards = ShardSet(chip_shards)
    shards.entries[:2] = [replace(entry, split="duplicate") for entry in shards.entries[:2]]
    marked = sum(entry.split == "duplicate" for entry in shards.entries)
    with caplog.at_level(logging.WARNING):
        keys = [image.key for image in _of_shards(shards, S2, 24)]
    assert keys == [entry.key for entry in shards.entries if entry.split != "duplicate"]
    assert f"{marked} samples of {chip_shards} are marked as duplicates of others and are left out" in caplog.text


def test_samples_smaller_than_a_chip_are_refused(chip_shards):
    with pytest.raises(TextError, match="is 24 pixels wide, the model's chips 48; build shards with --side 48 or more"):
        next(images_of(aligned(chip_px=48), chip_shards))


def test_scenes_of_another_sensor_are_left_out_and_said(tmp_path, scene, caplog):
    other = aligned()
    other.model.sensor = get_sensor("sentinel2-l2a")
    assert list(images_of(other, scene)) == []
    assert "is of sentinel2-l1c, not of sentinel2-l2a, and is left out" in caplog.text
