"""How long baselines will take is tried out on a few labels."""

import pytest

from bandloom.finetune.baselines.seconds import seconds_of
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import BlockSplit
from bandloom.finetune.tasks.change import CHANGE
from bandloom.finetune.tasks.segment import SEGMENT
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2


@pytest.fixture(scope="module")
def data() -> PixelData:
    return PixelData(FakeShards(2), BlockSplit(300, 0), S2)


def test_more_trees_on_more_features_take_longer(data):
    majority = seconds_of(["majority"], data, SEGMENT.baselines, 0)
    forest = seconds_of(["context_rf"], data, SEGMENT.baselines, 0)
    assert 0 < majority < forest


def test_what_is_no_classifier_counts_nothing(data):
    assert seconds_of(["post_classification"], data, CHANGE.baselines, 0) == 0.0
    assert seconds_of([], data, SEGMENT.baselines, 0) == 0.0
