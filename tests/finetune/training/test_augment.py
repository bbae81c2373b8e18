import numpy as np
import torch

from bandloom.finetune.training.augment import d4
from bandloom.training.device_batch import DeviceBatch
from tests.finetune.models import S2


def batch(draws) -> DeviceBatch:
    """Chips whose every band is the label's own pattern."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.integers(0, 3, (len(draws), 4, 4)))
    groups = {
        g.gsd_m: coarse.repeat_interleave(60 // g.gsd_m, 1)
        .repeat_interleave(60 // g.gsd_m, 2)[:, None]
        .expand(-1, len(g.bands), -1, -1)
        .to(torch.uint16)
        for g in S2.groups
    }
    label = coarse.repeat_interleave(6, 1).repeat_interleave(6, 2).to(torch.uint8)
    return DeviceBatch(S2, groups, tuple(map(str, draws)), np.array(draws, np.uint64), label, None)


def test_image_and_mask_turn_together():
    before, after = batch(range(40)), d4(batch(range(40)))
    assert not torch.equal(after.label, before.label)
    for gsd, group in after.groups.items():
        step = gsd // 10
        assert torch.equal(group[:, 0].long(), after.label[:, ::step, ::step].long())


def test_all_eight_symmetries_occur_and_nothing_else():
    chip = torch.arange(576).reshape(24, 24)
    same = batch(range(200))
    groups = {10: chip.expand(200, 4, 24, 24)}
    turned = d4(DeviceBatch(S2, groups, same.keys, same.draws, None, None)).groups[10][:, 0]
    found = {tuple(each.flatten().tolist()) for each in turned}
    expected = {tuple(torch.rot90(side, k).flatten().tolist()) for side in (chip, chip.flip(0)) for k in range(4)}
    assert found == expected


def test_a_sample_turns_the_same_way_in_any_company():
    alone, among = d4(batch([7])), d4(batch([1, 7, 3]))
    chip = torch.arange(576).reshape(24, 24)
    first = DeviceBatch(S2, {10: chip.expand(1, 4, 24, 24)}, ("7",), alone.draws, None, None)
    second = DeviceBatch(S2, {10: chip.expand(3, 4, 24, 24)}, ("1", "7", "3"), among.draws, None, None)
    assert torch.equal(d4(first).groups[10][0], d4(second).groups[10][1])
