import numpy as np
import pytest
import torch

from bandloom.finetune.data.own_bands import cut
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.splits import TEST, BlockSplit
from bandloom.finetune.scores.scoring import evaluating, predict_sample, score_model
from bandloom.finetune.tasks.registry import get_task
from tests.finetune.fake_shards import FakeShards
from tests.finetune.models import LABELS, S2, task_model


def test_chips_tile_a_sample_that_they_do_not_divide():
    model = task_model().eval()
    sample = FakeShards(1, 60).read(0)
    logits = predict_sample(model, sample.groups, sample.label)
    assert logits.shape == (3, 60, 60)
    inner = model({gsd: torch.from_numpy(g[None]) for gsd, g in cut(sample.groups, 36, 36, 24).items()})
    np.testing.assert_allclose(logits[:, 36:, 36:], inner[0].detach().numpy(), atol=1e-5)


def test_the_batch_size_changes_no_logit():
    model = task_model()
    sample = FakeShards(1, 60).read(0)
    one, many = (predict_sample(model, sample.groups, sample.label, size) for size in (1, 7))
    np.testing.assert_allclose(one, many, atol=1e-5)


def test_a_sample_smaller_than_a_chip_is_padded_with_absent_ground():
    sample = FakeShards(1, 12).read(0)
    assert {gsd: part.shape for gsd, part in cut(sample.groups, 0, 0, 24).items()} == {
        10: (4, 24, 24),
        20: (6, 12, 12),
        60: (3, 4, 4),
    }
    assert predict_sample(task_model(), sample.groups, sample.label).shape == (3, 12, 12)


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_every_test_label_is_scored_once(task):
    shards = FakeShards(40, 12, chips=True) if task == "classify" else FakeShards(3)
    data = get_task(task).data(shards, BlockSplit(120 if task == "classify" else 300, 0), S2)
    row = score_model("m", task_model(task), data, TEST)
    assert row.scored_on == data.counts.sum((0, 2))[TEST] > 0


def test_evaluation_leaves_the_model_in_training_as_it_was():
    model = task_model().train()
    with evaluating(model):
        assert not model.training
    assert model.training


def test_labels_are_predicted_where_a_model_that_knows_them_says_so():
    """A stand-in that reads the class off the pixels scores 1: nothing is shifted or turned on the way."""
    data = PixelData(FakeShards(2, 120), BlockSplit(300, 0), S2)
    for sample in data.shards.samples:
        sample.groups[10][0] = sample.label.astype(int) + 1000

    class Knows(torch.nn.Module):
        chip_px, label_set = 48, LABELS

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, groups):
            return torch.nn.functional.one_hot((groups[10][:, 0].long() - 1000).clamp(0, 2), 3).movedim(-1, 1).float()

    row = score_model("knows", Knows(), data, TEST)
    assert np.trace(row.confusion) == row.confusion.sum() > 0
