"""The loss of a fine-tuning step against torch's own cross-entropy, and over every way of cutting a step."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.errors import LabelError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.training.label_loss import JointOverLabels, MeanOverLabels, augmented, label_loss
from bandloom.finetune.training.losses import CrossEntropy, Dice
from bandloom.training.device_batch import DeviceBatch
from tests.finetune.models import S2

CONFIG = FinetuneConfig.model_validate({"shards": "x", "task": "segment", "augment": False})


class OneByOne(nn.Module):
    """Logits ``(B, 3, H, W)`` of the first band's values, by a matrix alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))

    def forward(self, groups: dict[int, Tensor]) -> Tensor:
        return groups[10][:, :1] * self.weight[:, None, None]


def batch(count: int = 4, seed: int = 0) -> DeviceBatch:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, (count, 6, 6))
    label[:, :3] = -1  # half of it is unknown
    label[0] = -1
    groups = {10: torch.from_numpy(rng.normal(size=(count, 4, 6, 6)).astype(np.float32))}
    keys = tuple(f"k{place}" for place in range(count))
    return DeviceBatch(S2, groups, keys, np.arange(count, dtype=np.uint64), torch.from_numpy(label), None)


def part(whole: DeviceBatch, rows: slice) -> DeviceBatch:
    groups = {gsd_m: group[rows] for gsd_m, group in whole.groups.items()}
    assert whole.label is not None
    return DeviceBatch(whole.sensor, groups, whole.keys[rows], whole.draws[rows], whole.label[rows], None)


def test_a_linear_loss_takes_one_pass_and_one_of_ratios_two():
    assert isinstance(label_loss(CONFIG, CrossEntropy()), MeanOverLabels)
    assert isinstance(label_loss(CONFIG, Dice()), JointOverLabels)


@pytest.mark.parametrize("cuts", [[4], [1, 3], [2, 2], [1, 1, 1, 1]])
def test_the_loss_of_a_step_is_torchs_over_all_known_labels_however_it_is_cut(cuts: list[int]):
    model, given, step = OneByOne(), batch(), MeanOverLabels(CONFIG, CrossEntropy())
    assert given.label is not None
    expected = functional.cross_entropy(model(given.groups), given.label, ignore_index=-1)
    sums: Any = 0.0
    counts: Any = 0.0
    start = 0
    for size in cuts:
        seen = step.prepare(part(given, slice(start, start + size)))
        found = step.sums(model, seen)
        sums, counts, start = sums + found.sums, counts + found.counts, start + size
        assert torch.equal(found.counts, step.counts(seen))
    assert step.loss(sums, counts).item() == pytest.approx(expected.item(), rel=1e-6)


def test_negative_labels_are_unknown_and_others_as_they_are():
    given = batch()
    (target,) = augmented(given, CONFIG).targets
    assert given.label is not None
    assert torch.equal(target.labels == IGNORE_INDEX, given.label < 0)
    assert torch.equal(target.labels[given.label >= 0], given.label[given.label >= 0])


def test_samples_without_labels_are_named():
    given = batch()
    bare = DeviceBatch(given.sensor, given.groups, given.keys, given.draws, None, None)
    with pytest.raises(LabelError, match="the samples k0, k1, k2, k3 carry no labels for segment"):
        augmented(bare, CONFIG)
