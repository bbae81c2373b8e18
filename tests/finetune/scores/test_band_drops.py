import numpy as np

from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import TEST, BlockSplit
from bandloom.finetune.scores.band_drops import band_drops, without_bands
from bandloom.finetune.scores.class_scorer import ClassScorer
from bandloom.finetune.scores.scoring import score_model
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import S2, task_model


def test_bands_that_are_left_out_are_absent_at_every_date():
    groups = FakeShards(1, 12).read(0).groups
    found = without_bands(groups, S2, ("B02", "B11"))
    assert (found[10][0] == groups[10][0]).all()
    assert (found[10][1:] == 0).all()
    assert (found[20][4] == groups[20][4]).all()
    assert (found[60] == 0).all()
    pair = {gsd: np.concatenate([group, group]) for gsd, group in groups.items()}
    assert (without_bands(pair, S2, ("B02",))[10][4] == groups[10][0]).all()


def test_a_model_is_scored_on_the_same_labels_with_fewer_bands():
    data, model = PixelData(FakeShards(2), BlockSplit(300, 0), S2), task_model()
    whole, rows = score_model("all", model, data, TEST), band_drops(ClassScorer(), model, data)
    assert [row.name for row in rows] == ["10m", "RGB"]
    for row in rows:
        assert row.scored_on == whole.scored_on
        assert (row.confusion.sum(1) == whole.confusion.sum(1)).all()
        assert not np.array_equal(row.confusion, whole.confusion)
