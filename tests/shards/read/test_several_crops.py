"""The order of several crops, as plain arithmetic over whole spans."""

from collections import defaultdict

import numpy as np
import pytest

from bandloom.shards.read.several_crops import HeldCrop, HeldCrops, sample_and_crop, span_of


@pytest.mark.parametrize(("batch", "crops", "span", "together"), [(6, 4, 4, 1), (8, 2, 10, 2), (5, 3, 64, 1)])
def test_every_sample_comes_once_a_crop_in_its_slot_and_far_from_itself(batch, crops, span, together):
    times = defaultdict(list)
    for position in range(2 * batch * crops * span):
        sample, crop = sample_and_crop(position, batch, crops, span, together)
        assert sample % batch == position % batch
        assert len(times[sample]) == crop  # first crop first
        times[sample].append(position // batch)
    assert sorted(times) == list(range(2 * batch * span))
    for batches in times.values():
        assert len(batches) == crops
        assert np.diff(batches).min() > span // 2


def test_neighbours_in_a_batch_part_unless_they_belong_together():
    first = {sample_and_crop(p, 8, 4, 8)[0] // 8 for p in range(8)}
    later = {sample_and_crop(8 * 8 + p, 8, 4, 8)[0] // 8 for p in range(8)}
    assert len(first) == 1
    assert len(later) == 4
    pairs = [[sample_and_crop(8 * 8 + p + k, 8, 4, 8, 2)[0] // 8 for k in (0, 1)] for p in (0, 2, 4, 6)]
    assert all(a == b for a, b in pairs)


def test_a_span_is_even_and_fits_memory():
    assert span_of(10**6) == 64
    assert span_of(120 * 2**20) == 8
    assert span_of(2**30) == 4
    assert span_of(0) == 64


def test_the_oldest_held_crops_go_first():
    held = HeldCrops(2)
    for crop in range(3):
        held.put(7, 0, crop, HeldCrop({}, None, (crop, 0)))
    assert len(held) == 2
    assert held.take(7, 0, 0) is None
    taken = held.take(7, 0, 2)
    assert taken is not None
    assert taken.corner == (2, 0)
    assert held.take(7, 0, 2) is None
