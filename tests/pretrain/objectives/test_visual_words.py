"""The visual words objective against loops that a person can check."""

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
from bandloom.pretrain.objectives.visual_words import (
    DESCRIBED,
    TEMPERATURE,
    WINDOWS,
    VisualWords,
    describe,
    sides_of,
)
from bandloom.sensors import SLOTS, get_sensor
from bandloom.shards.synth import SENSOR
from tests.pretrain.objectives.test_context import batch

LAYOUT, ROWS = reference_layout(60), 6
STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.08))


def tokens(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shape = (2, ROWS * ROWS, LAYOUT.samples)
    valid = torch.rand(shape, generator=rng) < 0.8
    return torch.randn(shape, generator=rng) * valid, valid


def objective(size: int = 5, layout=LAYOUT) -> VisualWords:
    """Words drawn at random, in deviations that are not 1."""
    made = VisualWords(ObjectiveConfig(kind="visual_words", codebook_size=size), 60)
    rng = torch.Generator().manual_seed(1)
    there = torch.cat([sides_of(layout) > 0, sides_of(layout) > 1])
    centre = torch.randn(DESCRIBED, generator=rng) * there
    spread = torch.where(there, 0.5 + torch.rand(DESCRIBED, generator=rng), 1.0)
    made.set_codebook(100, centre, spread, torch.randn(size, DESCRIBED, generator=rng) * there, layout)
    return made


def shares_by_hand(made: VisualWords, numbers: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return a token's shares by the definition, number by number."""
    of = int((made.sides > 0).sum() + (made.sides > 1).sum())
    away = []
    for word in made.words.numpy():
        squares = [
            ((numbers[i] - float(made.centre[i])) / float(made.spread[i]) - word[i]) ** 2 for i in np.flatnonzero(known)
        ]
        away.append(math.sqrt(np.mean(squares) * of))
    chances = np.exp(-np.array(away) / TEMPERATURE)
    return chances / chances.sum()


def test_a_token_is_described_by_means_and_deviations_of_what_was_measured() -> None:
    samples, valid = tokens()
    numbers, known = describe(samples, valid, LAYOUT)
    assert numbers.shape == (2, ROWS * ROWS, DESCRIBED)
    for b, t, slot in ((0, 3, "B02"), (1, 20, "B11"), (1, 5, "B01")):
        own = next(s for s in LAYOUT.slots if s.slot == slot)
        there = valid[b, t, own.start : own.stop]
        values, at = samples[b, t, own.start : own.stop][there].numpy(), SLOTS.index(slot)
        assert bool(known[b, t, at]) == bool(there.any())
        if len(values):
            assert float(numbers[b, t, at]) == pytest.approx(2 * values.mean(), abs=1e-5)
        assert bool(known[b, t, len(SLOTS) + at]) == (own.side > 1 and len(values) >= own.side**2 / 2)
        if known[b, t, len(SLOTS) + at]:
            wanted = math.log(2 * values.std() + 0.02) / 2
            assert float(numbers[b, t, len(SLOTS) + at]) == pytest.approx(wanted, abs=1e-4)


def test_shares_fall_with_the_distance_over_known_numbers() -> None:
    samples, valid = tokens()
    own = next(slot for slot in LAYOUT.slots if slot.slot == "B8A")
    valid[0, :, own.start : own.stop] = False
    made = objective()
    shares, told = made.words_of(samples, valid, LAYOUT)
    numbers, known = describe(samples, valid, LAYOUT)
    assert told.all()
    for b, t in ((0, 0), (0, 17), (1, 35)):
        wanted = shares_by_hand(made, numbers[b, t].numpy(), known[b, t].numpy())
        np.testing.assert_allclose(shares[b, t].numpy(), wanted, atol=1e-5)


def test_a_bag_is_the_mean_share_over_the_measured_tokens_of_a_window() -> None:
    samples, valid = tokens()
    valid[0, 8] = False
    made = objective()
    bags, known = made.target(samples, valid, SENSOR, ROWS)
    shares, told = made.words_of(samples, valid, LAYOUT)
    assert not told[0, 8]
    assert not known[0, 8, 0]
    assert known[0, 8, 1:].all()
    for b, row, column, window in ((0, 1, 2, 1), (0, 0, 0, 2), (1, 5, 3, 3), (1, 2, 2, 0)):
        reach = WINDOWS[window] // 2
        inside = [
            (b, y * ROWS + x)
            for y in range(max(0, row - reach), min(ROWS, row + reach + 1))
            for x in range(max(0, column - reach), min(ROWS, column + reach + 1))
            if told[b, y * ROWS + x]
        ]
        wanted = np.mean([shares[place].numpy() for place in inside], axis=0)
        np.testing.assert_allclose(bags[b, row * ROWS + column, window].numpy(), wanted, atol=1e-5)


def test_another_sensor_is_told_by_the_numbers_that_it_shares_with_the_codebook() -> None:
    """Means of shared slots count, whatever the grid; deviations within another grid do not."""
    landsat = get_sensor("landsat89-l1")
    layout = token_layout(landsat, 60)
    rng = torch.Generator().manual_seed(3)
    samples = torch.randn(1, 4, layout.samples, generator=rng)
    valid = torch.ones_like(samples, dtype=torch.bool)
    made = objective()
    shares, told = made.words_of(samples, valid, layout)
    numbers, known = describe(samples, valid, layout)
    known[..., len(SLOTS) :] = False  # 2 x 2 samples, where the codebook's tokens have 6 x 6 or 3 x 3
    assert told.all()
    for token in range(4):
        wanted = shares_by_hand(made, numbers[0, token].numpy(), known[0, token].numpy())
        np.testing.assert_allclose(shares[0, token].numpy(), wanted, atol=1e-5)


def test_the_loss_is_that_of_a_loop() -> None:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(embed_dim=64, depth=2, num_heads=2), STATISTICS)
    config = ObjectiveConfig(kind="visual_words", codebook_size=5, words_weight=0.5)
    model = MaskedAutoencoder(encoder, DecoderConfig(embed_dim=64, depth=1, num_heads=2), config).eval()
    model.objective = objective()
    model.objective.weight = 0.5
    given = batch()
    with torch.no_grad():
        decoded = model.decode(given)
        sums, counts = model.objective(decoded)
        bags, known = model.objective.target(decoded.samples, decoded.valid, SENSOR, 8)
    assert decoded.visible is not None
    by_hand = [0.0, 0.0]
    first = model.objective.pixels.outputs
    for b in range(len(given.keys)):
        for t in range(64):
            hidden = bool(decoded.mask[b, t])
            said = decoded.outputs[b, t, first:] if hidden else decoded.visible[b, t]
            terms = []
            for window, logits in enumerate(said.reshape(len(WINDOWS), 5)):
                share, chance = bags[b, t, window].numpy(), logits.softmax(-1).numpy()
                terms.append(float((share * np.log(share / chance)).sum()))
            assert known[b, t].all()
            by_hand[hidden] += 0.5 * float(np.mean(terms))
    assert sums[-2:].tolist() == pytest.approx(by_hand, rel=1e-4)
    assert counts[-2:].tolist() == [(~decoded.mask).sum(), decoded.mask.sum()]
    assert counts.tolist() == model.counts(given).tolist()


@pytest.mark.parametrize("name", ["sentinel2-l2a", "landsat89-l1", "theos2"])
def test_every_sensor_gives_a_finite_loss_that_reaches_the_encoder(name: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(embed_dim=64, depth=2, num_heads=2), STATISTICS)
    config = ObjectiveConfig(kind="visual_words", codebook_size=5)
    model = MaskedAutoencoder(encoder, DecoderConfig(embed_dim=64, depth=1, num_heads=2), config)
    sensor = get_sensor(name)
    given, loss = batch(sensor), MaskedLoss(model, [sensor])
    sums = loss.sums(model, given)
    total = loss.loss(sums.sums, sums.counts)
    total.backward()
    assert math.isfinite(total.item())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.blocks.parameters())
