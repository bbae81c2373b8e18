import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.finetune.data.chips import ChipData
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.split_distance import train_test_distance
from bandloom.finetune.data.splits import TEST, TRAIN, BlockSplit, SampleSplit
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2


def centres(data: TaskData, role: int) -> np.ndarray:
    places = []
    for index in data.indices.tolist():
        entry, found = data.shards.entries[index], data.labelled(index, role)
        if found is not None:
            rows, columns = np.nonzero(found.label != IGNORE_INDEX)
            places.append(np.stack([entry.x_m + 10 * columns + 5, entry.y_m - 10 * rows - 5], 1))
    return np.concatenate(places)


def test_the_rims_give_the_same_least_distance_as_all_labels():
    data = PixelData(FakeShards(2, 60), BlockSplit(300, 60), S2)
    found = train_test_distance(data)
    assert found is not None
    assert found["least_m"] == pytest.approx(cdist(centres(data, TEST), centres(data, TRAIN)).min())
    assert found["median_m"] >= found["least_m"]


@pytest.mark.parametrize("buffer_m", [0, 60, 120])
def test_a_block_split_keeps_its_buffer(buffer_m):
    found = train_test_distance(PixelData(FakeShards(3, 120), BlockSplit(300, buffer_m), S2))
    assert found is not None
    assert found["least_m"] >= max(buffer_m, 10)


def test_a_random_split_is_seen_through():
    found = train_test_distance(PixelData(FakeShards(1, 60), BlockSplit(10, 0), S2))
    assert found is not None
    assert found["median_m"] == 10


def test_chips_are_measured_between_their_centres():
    shards = FakeShards(4, 6, chips=True)
    roles = {"s0": 0, "s1": 0, "s2": 1, "s3": 2}
    found = train_test_distance(ChipData(shards, SampleSplit("given", roles), S2))
    assert found == {"least_m": 120.0, "median_m": 120.0, "measured": 1}
