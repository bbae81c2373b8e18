from dataclasses import replace

import numpy as np
import pytest

from bandloom.errors import LabelError
from bandloom.finetune.data.pixels import PixelData, check_label, check_size, mask_label
from bandloom.finetune.data.splits import BUFFER, TEST, TRAIN, VAL, BlockSplit
from bandloom.shards.read.shard_set import ShardSet
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import LABELS, S2

SPLIT = BlockSplit(300, 60)


@pytest.fixture(name="shards")
def with_an_unmeasured_corner():
    shards = FakeShards(3, 60)
    sample = shards.samples[0]
    for gsd, group in sample.groups.items():
        group[:, : 120 // gsd, : 120 // gsd] = 0  # 12 x 12 pixels of 10 m
    label = sample.label.copy()
    label[40:] = 255
    shards.samples[0] = replace(sample, label=label)
    return shards


def known(shards, index: int) -> np.ndarray:
    """Labelled and measured pixels of a sample, by a rule of its own."""
    sample = shards.samples[index]
    measured = np.ones(sample.label.shape, bool)
    if index == 0:
        measured[:12, :12] = False
    return (sample.label != 255) & measured


def test_counts_are_those_of_known_pixels_by_role_and_class(shards):
    data = PixelData(shards, SPLIT, S2)
    for row, index in enumerate(data.indices.tolist()):
        entry, label = shards.entries[index], shards.samples[index].label
        roles = SPLIT.roles(entry, (entry.x_m, entry.y_m), label.shape)
        for role in (TRAIN, VAL, TEST):
            for k in range(3):
                assert data.counts[row, role, k] == (known(shards, index) & (roles == role) & (label == k)).sum()


def test_roles_share_no_pixel_and_the_buffer_belongs_to_none(shards):
    data = PixelData(shards, SPLIT, S2)
    entry, label = shards.entries[1], shards.samples[1].label
    parts = [data.labelled(1, role) for role in (TRAIN, VAL, TEST)]
    seen = np.stack([part.label != 255 for part in parts if part is not None])
    roles = SPLIT.roles(entry, (entry.x_m, entry.y_m), label.shape)
    assert seen.sum(0).max() == 1
    assert (seen.any(0) == (roles != BUFFER)).all()
    for part in parts:
        if part is not None:
            assert (part.label[part.label != 255] == label[part.label != 255]).all()


def test_a_sample_without_labels_of_a_role_is_passed_over(shards):
    data = PixelData(shards, SPLIT, S2)
    for role in (TRAIN, VAL, TEST):
        keys = {sample.key for sample in data.samples(role)}
        assert keys == {shards.entries[int(i)].key for i in data.indices_of(role)}


def test_labels_of_one_role_on_measured_ground_stay():
    groups = {10: np.array([[[5, 0], [5, 5]]], np.uint16)}
    label, roles = np.array([[1, 2], [0, 1]], np.uint8), np.array([[0, 0], [0, 1]], np.uint8)
    assert mask_label(label, groups, roles, TRAIN).tolist() == [[1, 255], [0, 255]]


def test_an_index_beyond_the_classes_and_another_size_are_sentences():
    groups = {20: np.ones((1, 3, 3), np.uint16), 60: np.ones((1, 1, 1), np.uint16)}
    check_size(np.zeros((6, 6), np.uint8), groups, "a")
    with pytest.raises(LabelError, match="the label of a is 5 x 6 pixels, its image 6 x 6 of 10 m"):
        check_size(np.zeros((5, 6), np.uint8), groups, "a")
    with pytest.raises(LabelError, match=r"holds the class index 3, but label set 'three' has 3 classes"):
        check_label(np.full((6, 6), 3, np.uint8), groups, LABELS, "a")
    check_label(np.full((6, 6), 255, np.uint8), groups, LABELS, "a")


def test_samples_without_a_raster_are_a_sentence():
    with pytest.raises(LabelError, match="has a label raster, which task=segment needs"):
        PixelData(FakeShards(3, 36, chips=True), SPLIT, S2)


def test_samples_with_a_class_of_their_own_alone_are_refused_in_one_sentence(chip_shards):
    with pytest.raises(LabelError, match="has a label raster, which task=segment needs; choose the other task"):
        PixelData(ShardSet(chip_shards), SPLIT, S2)
