import numpy as np
import pytest

from bandloom.errors import LabelError
from bandloom.finetune.data.chips import ChipData
from bandloom.finetune.data.splits import BUFFER, TEST, TRAIN, VAL, BlockSplit
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2

SPLIT = BlockSplit(600, 0)


@pytest.fixture(scope="module", name="data")
def of_sixty_chips():
    return ChipData(FakeShards(60, 36, chips=True), SPLIT, S2)


def test_every_chip_is_counted_once_in_the_role_of_its_ground(data):
    roles = [data.role_of(index) for index in data.indices.tolist()]
    counts = np.zeros((3, 3), int)
    for index, role in zip(data.indices.tolist(), roles, strict=True):
        if role != BUFFER:
            counts[role, data.shards.entries[index].class_index] += 1
    assert data.counts.sum(0).tolist() == counts.tolist()
    assert data.by_role.tolist() == counts.sum(1).tolist()


def test_a_role_yields_its_own_chips_with_their_class_and_block(data):
    keys = []
    for role in (TRAIN, VAL, TEST):
        for sample in data.samples(role):
            index = next(i for i, entry in enumerate(data.shards.entries) if entry.key == sample.key)
            assert data.role_of(index) == role
            assert int(sample.label) == data.shards.entries[index].class_index
            assert sample.label.shape == sample.blocks.shape == ()
            keys.append(sample.key)
    assert len(keys) == len(set(keys)) == data.by_role.sum()


def test_a_chip_of_another_role_has_no_label(data):
    index = int(data.indices_of(TEST)[0])
    assert data.labelled(index, TRAIN) is None
    assert data.labelled(index, TEST) is not None


def test_chips_on_the_border_of_two_roles_have_none():
    shards = FakeShards(60, 36, chips=True)
    wide = ChipData(shards, BlockSplit(600, 300), S2)
    apart = [wide.role_of(index) for index in wide.indices.tolist()]
    assert BUFFER in apart
    assert wide.counts.sum() == sum(role != BUFFER for role in apart)


def test_some_are_evenly_picked_and_leave_the_others_as_they_are(data):
    few = data.some(TRAIN, 5)
    assert len(few.indices) == 5
    assert few.indices[0] == data.indices_of(TRAIN)[0]
    assert few.indices[-1] == data.indices_of(TRAIN)[-1]
    assert few.by_role[TRAIN] == 5
    assert len(data.indices) == 60


def test_shards_without_chips_of_a_class_are_a_sentence():
    with pytest.raises(LabelError, match="has a class of its own, which task=classify needs"):
        ChipData(FakeShards(2), SPLIT, S2)
