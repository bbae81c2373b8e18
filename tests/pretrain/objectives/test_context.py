"""The context objective against loops that a person can check."""

import math

import numpy as np
import pytest
import torch

from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.model.token_layout import reference_layout, token_layout
from bandloom.pretrain.config import DecoderConfig, ObjectiveConfig
from bandloom.pretrain.loss import MaskedLoss
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.pretrain.objectives.context import POWERS, SURROUNDINGS, log_powers, surroundings
from bandloom.sensors import SLOTS, Sensor, get_sensor
from bandloom.shards.synth import SENSOR, synthesise
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import LossSums

LAYOUT, ROWS = reference_layout(60), 6
STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.08))
ALONE = Ranks(0, 0, 1, torch.device("cpu"))


def tokens(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shape = (2, ROWS * ROWS, LAYOUT.samples)
    valid = torch.rand(shape, generator=rng) < 0.8
    return torch.randn(shape, generator=rng) * valid, valid


def model(**objective: object) -> MaskedAutoencoder:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(embed_dim=64, depth=2, num_heads=2), STATISTICS)
    return MaskedAutoencoder(
        encoder, DecoderConfig(embed_dim=64, depth=1, num_heads=2), ObjectiveConfig(kind="context", **objective)
    )


def batch(sensor: Sensor = SENSOR, draw: int = 0, size: int = 4) -> DeviceBatch:
    scene = synthesise(48, 3)
    groups = {gsd: torch.from_numpy(group)[None].repeat(size, 1, 1, 1) for gsd, group in scene.groups.items()}
    if sensor != SENSOR:
        rng = np.random.default_rng(0)
        groups = {
            g.gsd_m: torch.from_numpy(
                rng.integers(1200, 4000, (size, len(g.bands), 480 // g.gsd_m, 480 // g.gsd_m)).astype(np.uint16)
            )
            for g in sensor.groups
        }
    draws = (np.arange(size) + 10 * draw).astype(np.uint64)
    return DeviceBatch(sensor, groups, tuple(map(str, range(size))), draws, None, None)


def test_surroundings_are_mean_and_deviation_of_what_was_measured_over_squares_of_tokens() -> None:
    samples, valid = tokens()
    target, known = surroundings(samples, valid, LAYOUT, ROWS)
    assert target.shape == (2, ROWS * ROWS, SURROUNDINGS)
    assert known.all()
    for b, row, column, side, slot in ((0, 2, 3, 3, 0), (1, 0, 0, 3, 9), (0, 5, 1, 5, 4), (1, 3, 3, 5, 12)):
        own = next(each for each in LAYOUT.slots if SLOTS.index(each.slot) == slot)
        values = []
        for y in range(max(0, row - side // 2), min(ROWS, row + side // 2 + 1)):
            for x in range(max(0, column - side // 2), min(ROWS, column + side // 2 + 1)):
                at = b, y * ROWS + x, slice(own.start, own.stop)
                values += samples[at][valid[at]].tolist()
        first = (0 if side == 3 else 2) * len(SLOTS) + slot
        told = target[b, row * ROWS + column]
        assert float(told[first]) == pytest.approx(2 * np.mean(values), abs=1e-4)
        assert float(told[first + len(SLOTS)]) == pytest.approx(1 + math.log(2 * np.std(values) + 0.01), abs=1e-3)


def test_of_a_slot_that_is_nowhere_around_nothing_is_asked() -> None:
    samples, valid = tokens()
    own = next(slot for slot in LAYOUT.slots if slot.slot == "B11")
    valid[0, :, own.start : own.stop] = False
    _, known = surroundings(samples, valid, LAYOUT, ROWS)
    lacking = SLOTS.index("B11")
    assert not known[0].unflatten(-1, (4, 13))[..., lacking].any()
    assert known[1].all()
    assert known[0].sum() == known[1].sum() * 12 / 13


def test_a_wave_has_its_power_where_its_period_and_direction_lie() -> None:
    """A wave across columns of 5 samples stands in the ring 0.15 to 0.25, at the direction that is zero."""
    side, wave = 6, np.sin(2 * np.pi / 5 * np.arange(ROWS * 6))
    image = torch.from_numpy(np.tile(wave, (ROWS * 6, 1)).astype(np.float32))
    blocks = image.reshape(ROWS, side, ROWS, side).permute(0, 2, 1, 3).reshape(1, ROWS * ROWS, 36)
    samples = torch.zeros(1, ROWS * ROWS, LAYOUT.samples)
    for slot in LAYOUT.slots:
        if slot.slot in ("B04", "B08"):
            samples[..., slot.start : slot.stop] = blocks
    target, known = log_powers(samples, torch.ones_like(samples, dtype=torch.bool), LAYOUT, ROWS)
    assert known.all()
    middle = target[0, 2 * ROWS + 3]
    assert target.shape[-1] == POWERS
    assert int(middle[: POWERS // 2].argmax()) == 2  # two bins of the first ring, then direction 0 of the second


def test_powers_are_those_of_a_plain_fourier_transform_and_unknown_beside_a_gap() -> None:
    samples, valid = tokens()
    valid[:] = True
    valid[0, 2 * ROWS + 2, 0] = False  # a sample of B02 is nobody's business
    own = next(slot for slot in LAYOUT.slots if slot.slot == "B08")
    valid[1, 2 * ROWS + 2, own.start] = False
    target, known = log_powers(samples, valid, LAYOUT, ROWS)
    assert known[0].all()
    gap = (~known[1].unflatten(-1, (2, POWERS // 2))[..., 1, 0]).reshape(ROWS, ROWS).nonzero().tolist()
    assert gap == [[1, 1], [1, 2], [2, 1], [2, 2]]  # its first sample lies in the windows of four tokens
    image = samples[0, :, own.start : own.stop].reshape(ROWS, ROWS, 6, 6).permute(0, 2, 1, 3).reshape(36, 36).numpy()
    window = np.sin(np.pi * np.arange(1, 13) / 13) ** 2
    window = np.outer(window, window)
    cut = image[2 * 6 - 3 : 2 * 6 + 9, 3 * 6 - 3 : 3 * 6 + 9]
    power = np.abs(np.fft.fft2((cut - cut.mean()) * window)) ** 2 / (window**2).sum()
    inside = []
    for v in range(12):
        for u in range(7):  # the half plane that rfft2 keeps
            fy, fx = np.fft.fftfreq(12)[v], u / 12
            away = abs((math.atan2(fy, fx) + math.pi / 2) % math.pi - math.pi / 2)
            if 0.15 <= math.hypot(fy, fx) < 0.25 and away <= math.pi / 8 + 1e-6:
                inside.append(power[v, u])
    expected = 2 + math.log(np.mean(inside) + 1e-4) / 2
    assert float(target[0, 2 * ROWS + 3, POWERS // 2 + 2]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", ["sentinel2-l1c", "landsat89-l1", "theos1"])
def test_every_sensor_has_finite_terms_that_are_counted_without_a_forward_pass(name: str) -> None:
    sensor, mae = get_sensor(name), model(band_dropout=1.0)
    found = LossSums(*mae(batch(sensor)))
    assert torch.isfinite(found.loss())
    assert len(found.sums) == len(found.counts) == mae.objective.terms(sensor)
    torch.testing.assert_close(found.counts.double(), mae.counts(batch(sensor)).double())
    found.loss().backward()
    assert [n for n, p in mae.named_parameters() if p.grad is None] == []


def test_coarse_bands_have_no_textures() -> None:
    sensor = get_sensor("landsat89-l1")
    layout = token_layout(sensor, 60)
    samples = torch.randn(1, 16, layout.samples)
    _, known = log_powers(samples, torch.ones_like(samples, dtype=torch.bool), layout, 4)
    assert not known.any()


def test_what_tokens_say_of_their_surroundings_comes_nearer_to_the_truth() -> None:
    mae = model(band_dropout=0.0)
    optimizer = torch.optim.AdamW(mae.parameters(), lr=2e-3)
    told = []
    for step in range(40):
        given = batch(draw=step)
        found = LossSums(*mae(given))
        optimizer.zero_grad()
        found.loss().backward()
        optimizer.step()
        told.append((found.sums / found.counts)[-2:].detach())
    first, last = torch.stack(told[:5]).mean(0), torch.stack(told[-5:]).mean(0)
    assert (last < 0.6 * first).all()


def test_the_loss_and_its_gradients_are_the_same_in_micro_batches() -> None:
    mae, given = model(band_dropout=0.0), batch(size=4)
    halves = [
        DeviceBatch(
            SENSOR,
            {gsd: group[half] for gsd, group in given.groups.items()},
            given.keys[half],
            given.draws[half],
            None,
            None,
        )
        for half in (slice(0, 1), slice(1, 4))
    ]
    gradients, losses = [], []
    for parts in ([given], halves):
        mae.zero_grad()
        total = 0.0
        for share in MaskedLoss(mae, [SENSOR]).shares(mae, parts, ALONE):
            share.backward()
            total += share.item()
        losses.append(total)
        gradients.append(torch.cat([p.grad.flatten() for p in mae.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)
