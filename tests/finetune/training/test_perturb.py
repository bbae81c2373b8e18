import numpy as np
import pytest
import torch

from bandloom.finetune.config import PerturbConfig
from bandloom.finetune.training.perturb import Target, lost_slots, mix, perturb
from bandloom.training.device_batch import DeviceBatch
from tests.finetune.models import S2, chips

ALL = {"gain": 0.2, "band_gain": 0.05, "offset": 0.01, "noise": 0.01}


def batch(draws=range(4), seed: int = 0, **changes) -> DeviceBatch:
    draws = list(draws)
    groups = {gsd: group.to(torch.uint16) for gsd, group in chips(batch=len(draws), seed=seed).items()}
    label = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (len(draws), 24, 24)).astype(np.uint8))
    return DeviceBatch(S2, groups, tuple(map(str, draws)), np.array(draws, np.uint64), label, None, **changes)


def test_nothing_is_touched_unless_asked():
    given = batch()
    assert perturb(given, PerturbConfig()) is given
    (target,) = mix(given, given.label, PerturbConfig())[1]
    assert target.labels is given.label
    assert target.weight == 1


def test_light_moves_reflectance_by_the_bounds_and_leaves_absent_samples():
    given = batch()
    given.groups[10][:, :, :4] = 0
    given.groups[20][:, :, :2] = 65535
    moved = perturb(given, PerturbConfig(gain=0.2, offset=0.01)).groups
    assert (moved[10][:, :, :4] == 0).all()
    assert (moved[20][:, :, :2] == 65535).all()
    before, after = ((g[10][:, :, 4:].float() - 1000) / 10_000 for g in (given.groups, moved))
    assert not torch.allclose(before, after)
    assert ((after - before).abs() <= 0.2 * before.abs() + 0.01 + 1e-4).all()


def test_nothing_clamps():
    given = batch()
    for group in given.groups.values():
        group[:] = 60_000
        group[..., 0] = 40
    moved = perturb(given, PerturbConfig(gain=0.9, offset=0.05, noise=0.02)).groups
    for gsd, group in moved.items():
        assert ((group > 0) & (group < 65_535)).all()  # what was measured stays measured
        assert (group == 65_534).sum() == 0
        assert len(group.unique()) > group.numel() / 4, gsd  # no pile at a bound


def test_a_sample_is_perturbed_the_same_way_in_any_company():
    config = PerturbConfig(**ALL, drop_band=0.3, other_sensor=0.3)
    among = perturb(batch([5, 7, 9]), config)
    alone = batch([7])
    for gsd in alone.groups:
        alone.groups[gsd][:] = batch([5, 7, 9]).groups[gsd][1:2]
    for gsd, group in perturb(alone, config).groups.items():
        assert torch.equal(group[0], among.groups[gsd][1])


def test_lost_bands_are_absent_and_some_always_stay():
    draws = np.arange(200, dtype=np.uint64)
    drops = lost_slots(S2, PerturbConfig(drop_band=0.95), draws)
    assert drops.shape == (200, 13)
    assert not drops.all(1).any()
    assert drops.sum(1).max() == 12
    sensors = {
        frozenset(slot for slot, gone in zip(S2.slots, row, strict=True) if not gone)
        for row in lost_slots(S2, PerturbConfig(other_sensor=1.0), draws)
    }
    assert frozenset({"B02", "B03", "B04"}) in sensors
    assert len(sensors) == 4
    rate = lost_slots(S2, PerturbConfig(drop_band=0.3), np.arange(5_000, dtype=np.uint64)).mean()
    assert rate == pytest.approx(0.3, abs=0.01)
    found = perturb(batch(), PerturbConfig(other_sensor=1.0)).groups
    assert (found[60] == 0).any()
    assert all((found[10][:, i] > 0).all() for i in range(3))  # every one of the four has blue, green and red


def test_stacked_dates_lose_the_same_bands():
    given = batch()
    pair = {gsd: torch.cat([group, group], 1) for gsd, group in given.groups.items()}
    found = perturb(DeviceBatch(S2, pair, given.keys, given.draws, None, None), PerturbConfig(drop_band=0.5)).groups
    for group in found.values():
        half = group.shape[1] // 2
        assert torch.equal(group[:, :half] == 0, group[:, half:] == 0)


def test_mixup_averages_reflectance_and_weighs_both_targets():
    given, config = batch(), PerturbConfig(mix="mixup", mix_share=1.0)
    given.groups[60][0, 0, 0, 0] = 0
    mixed, targets = mix(given, given.label, config)
    assert len(targets) == len(given.keys)  # two a pair
    for one, two in zip(targets[::2], targets[1::2], strict=True):
        assert one.rows == two.rows
        assert one.weight + two.weight == pytest.approx(1)
        assert torch.equal(one.labels, given.label[one.rows])
        assert torch.equal(two.labels, one.labels.flip(0))
        seen = given.groups[10][one.rows].float()
        assert torch.allclose(mixed.groups[10][one.rows], one.weight * seen + two.weight * seen.flip(0), atol=1e-6)
    assert len({target.weight for target in targets}) == len(targets)  # each pair's own
    assert mixed.groups[60][0, 0, 0, 0] == mixed.groups[60][1, 0, 0, 0] == 0  # half a sample is none


def test_cutmix_pastes_pixels_and_mask_together():
    given = batch(range(20))
    for gsd, group in given.groups.items():
        group[:] = (2000 + given.label[:, None, :: gsd // 10, :: gsd // 10].int()).to(torch.uint16)
    mixed, (found,) = mix(given, given.label, PerturbConfig(mix="cutmix", mix_share=1.0))
    target = found.labels
    assert found.weight == 1
    assert not torch.equal(target, given.label)
    for gsd, group in mixed.groups.items():
        assert torch.equal(group[:, 0] - 2000, target[:, :: gsd // 10, :: gsd // 10].float())


def test_cutmix_weighs_the_targets_of_chips_by_area():
    given, classes = batch(range(6)), torch.arange(6)
    for row in range(6):
        for group in given.groups.values():
            group[row] = 2000 + row
    mixed, targets = mix(given, classes, PerturbConfig(mix="cutmix", mix_share=1.0))
    for pair, (one, two) in enumerate(zip(targets[::2], targets[1::2], strict=True)):
        assert one.labels.tolist() == [2 * pair, 2 * pair + 1]
        assert two.labels.tolist() == [2 * pair + 1, 2 * pair]
        pasted = (mixed.groups[10][2 * pair] == 2001 + 2 * pair).float().mean().item()
        assert pasted == pytest.approx(two.weight)
        assert one.weight + two.weight == pytest.approx(1)


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_pairs_are_mixed_the_same_way_in_any_company(way):
    given, config = batch(range(8)), PerturbConfig(mix=way, mix_share=0.6)
    classes = torch.arange(8)
    whole, targets = mix(given, classes, config)
    parts = [mix(part, classes[2 * at : 2 * at + 2], config) for at, part in enumerate(given.split(4))]
    for gsd, group in whole.groups.items():
        assert torch.equal(group.float(), torch.cat([part.groups[gsd].float() for part, _ in parts]))
    soft = soft_labels(targets, 8)
    assert torch.equal(soft, torch.cat([soft_labels(own, 2) for _, own in parts]))
    assert torch.allclose(soft.sum(1), torch.ones(8), atol=1e-6)
    own = soft.diagonal()
    assert (own == 1).any()
    assert ((own > 0) & (own < 1)).any()


def soft_labels(targets: list[Target], chips: int) -> torch.Tensor:
    soft = torch.zeros(chips, 8)
    for target in targets:
        soft[torch.arange(chips)[target.rows], target.labels] += target.weight
    return soft


def test_an_odd_last_chip_stays_as_it_is():
    given = batch(range(3))
    mixed, targets = mix(given, torch.arange(3), PerturbConfig(mix="mixup", mix_share=1.0))
    assert torch.equal(mixed.groups[10][2], given.groups[10][2].float())
    assert targets[0].labels.tolist() == [2]
    assert targets[0].weight == 1
