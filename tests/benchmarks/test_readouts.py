"""Read-outs of a frozen encoder: what they hold, and that the training ground alone chooses among them."""

import numpy as np
import pytest
import torch

from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.sensors import SLOTS, get_sensor
from benchmarks.distillation import Ground
from benchmarks.readouts import around, chosen, read, token_maps

L1C = get_sensor("sentinel2-l1c")
STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.05))


@pytest.fixture(name="ground")
def chips_of_four_tokens():
    rng = np.random.default_rng(0)
    groups = {
        group.gsd_m: torch.from_numpy(
            rng.integers(1500, 3500, (5, len(group.bands), 120 // group.gsd_m, 120 // group.gsd_m)).astype(np.int32)
        )
        for group in L1C.groups
    }
    return Ground(groups, np.arange(5)[:, None], np.arange(5), L1C, STATISTICS)


def test_the_stems_responses_are_what_its_map_is_given(ground):
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(embed_dim=32, depth=1, num_heads=2, stem_filters=12), STATISTICS)
    last, said = token_maps(encoder, ground)
    assert last.shape == (5, 4, 32)
    assert said is not None
    told = []
    encoder.embed.stem.register_forward_hook(lambda module, given, embedded: told.append(embedded))
    with torch.no_grad():
        encoder.forward_features(ground.groups, L1C)
    np.testing.assert_allclose(said @ encoder.embed.stem.mix.detach().numpy().T, told[0].numpy(), atol=1e-5)
    assert token_maps(Encoder(EncoderConfig(embed_dim=32, depth=1, num_heads=2), STATISTICS), ground)[1] is None


def test_surroundings_are_the_mean_of_the_tokens_about_each():
    tokens = np.random.default_rng(0).normal(size=(2, 9, 3))
    found = around(tokens).reshape(2, 3, 3, 3)
    padded = np.pad(tokens.reshape(2, 3, 3, 3), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    for y in range(3):
        for x in range(3):
            np.testing.assert_allclose(found[:, y, x], padded[:, y : y + 3, x : x + 3].mean((1, 2)))


def test_a_chip_is_read_by_the_mean_and_the_deviation_of_its_tokens(ground):
    tokens = np.random.default_rng(0).normal(size=(5, 4, 3))
    wide = read(tokens, ground, wide=True)
    np.testing.assert_allclose(wide, np.concatenate([tokens.mean(1), tokens.std(1)], 1))


def test_training_blocks_choose_the_read_out_and_test_rows_have_no_say():
    """Of two read-outs one tells the classes of the training ground, the other those of the test ground alone."""
    rng, labels, blocks = np.random.default_rng(0), np.tile([0, 1], 60), np.repeat(np.arange(12), 10)
    train, test = np.flatnonzero(blocks < 9), np.flatnonzero(blocks >= 9)
    good, bad = rng.normal(size=(120, 2)), rng.normal(size=(120, 2))
    good[train, 0] += 4 * labels[train]
    bad[test, 0] += 4 * labels[test]
    picks: list[str] = []
    told = chosen({"bad": [bad], "good": [good]}, labels, blocks, picks, train, test, 0)
    assert picks == ["good"]
    assert told.shape == test.shape
