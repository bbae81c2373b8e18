import numpy as np
import pytest

from bandloom.errors import ConfigError
from bandloom.finetune.data.own_bands import own_bands
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import TEST, TRAIN, BlockSplit
from bandloom.finetune.experiment import with_bands
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2


def test_a_sensor_with_fewer_bands_is_given_those_of_the_shards_at_every_date():
    groups, rgb = FakeShards(1, 12).read(0).groups, with_bands(S2, "RGB")
    found = own_bands(groups, S2, rgb)
    assert list(found) == [10] == [group.gsd_m for group in rgb.groups]
    assert (found[10] == groups[10][:3]).all()
    pair = {gsd: np.concatenate([group, group + 1]) for gsd, group in groups.items()}
    both = own_bands(pair, S2, rgb)[10]
    assert (both[:3] == groups[10][:3]).all()
    assert (both[3:] == groups[10][:3] + 1).all()
    assert own_bands(groups, S2, S2) is groups


def test_fewer_bands_leave_the_labels_and_the_split_as_they_are():
    shards, split = FakeShards(2), BlockSplit(300, 0)
    whole, few = (PixelData(shards, split, sensor) for sensor in (S2, with_bands(S2, "10m")))
    assert whole.describe() == few.describe()
    for role in (TRAIN, TEST):
        for one, two in zip(whole.samples(role), few.samples(role), strict=True):
            assert (one.label == two.label).all()
            assert list(two.groups) == [10]
            assert len(two.groups[10]) == 4


def test_bands_that_the_sensor_lacks_are_an_error():
    with pytest.raises(ConfigError, match="of which 'sentinel2-l1c' has none"):
        with_bands(S2.subset(["B01"]), "RGB")
