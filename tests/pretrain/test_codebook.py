"""The codebook of visual words: found on whole tokens of real shards, the same at every start, kept in snapshots."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bandloom.errors import ShardError
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.model.token_layout import reference_layout
from bandloom.pretrain.codebook import fit_codebook, prepare_codebook
from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.objectives import VisualWords
from bandloom.pretrain.objectives.visual_words import describe
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.synth import SENSOR


def words(size: int) -> VisualWords:
    return VisualWords(ObjectiveConfig(kind="visual_words", codebook_size=size), 60)


def encoder_of(shards: ShardSet) -> Encoder:
    return Encoder(EncoderConfig(embed_dim=64, depth=1, num_heads=2), Statistics.from_mapping(shards.statistics))


def test_words_of_planted_kinds_of_ground_are_those_kinds() -> None:
    """Three kinds of token, each its own reflectance: each becomes a word that its tokens are told by."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, (6, 4, 4))
    levels = np.array([1500, 3000, 6000])[kinds]
    chips = []
    for chip in levels:
        groups = {}
        for group in SENSOR.groups:
            side = 60 // group.gsd_m
            plane = np.kron(chip, np.ones((side, side), int))
            noise = rng.integers(-20, 20, (len(group.bands), *plane.shape))
            groups[group.gsd_m] = torch.from_numpy((plane + noise).astype(np.uint16))[None]
        chips.append(groups)
    slots = list(reference_layout(60).slots)
    statistics = Statistics(mean={s.slot: 0.2 for s in slots}, std={s.slot: 0.2 for s in slots})
    encoder = Encoder(EncoderConfig(embed_dim=64, depth=1, num_heads=2), statistics)
    objective = words(3)
    fit_codebook(objective, encoder, chips, SENSOR)
    assert int(objective.seen) == 96
    told = [objective.words_of(*encoder.samples(groups, SENSOR), reference_layout(60))[0][0] for groups in chips]
    chosen = torch.stack(told).argmax(-1).numpy().reshape(kinds.shape)
    pairs = {(int(kind), int(word)) for kind, word in zip(kinds.ravel(), chosen.ravel(), strict=True)}
    assert len(pairs) == 3
    assert torch.stack(told).amax(-1).min() > 0.6


def test_the_same_shards_give_the_same_words_and_a_snapshots_stay(shards: Path) -> None:
    held = ShardSet(shards)
    encoder, indices = encoder_of(held), np.arange(len(held))
    one, two = words(6), words(6)
    prepare_codebook(one, encoder, held, indices)
    prepare_codebook(two, encoder, held, indices)
    assert int(one.seen) > 6
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    kept = {name: value + 1 for name, value in one.state_dict().items()}
    two.load_state_dict(kept)
    prepare_codebook(two, encoder, held, indices)
    assert all(torch.equal(value, kept[name]) for name, value in two.state_dict().items())


def test_words_stand_in_deviations_about_the_mean_token(shards: Path) -> None:
    held = ShardSet(shards)
    encoder, objective = encoder_of(held), words(6)
    prepare_codebook(objective, encoder, held, np.arange(len(held)))
    rows = []
    for index in range(len(held)):
        groups = {gsd: torch.from_numpy(group)[None] for gsd, group in held.read(index).groups.items()}
        numbers, known = describe(*encoder.samples(groups, next(iter(held.sensors.values()))), reference_layout(60))
        complete = known[..., : numbers.shape[-1]].sum(-1) == int(
            (objective.sides > 0).sum() + (objective.sides > 1).sum()
        )
        rows.append(numbers[complete])
    tokens = torch.cat(rows)
    assert int(objective.seen) == len(tokens)
    np.testing.assert_allclose(objective.centre.numpy(), tokens.mean(0).numpy(), atol=1e-4)
    assert objective.words.abs().max() < 10


def test_fewer_tokens_than_words_are_refused_with_the_edit_that_mends_it(shards: Path) -> None:
    held = ShardSet(shards)
    with pytest.raises(ShardError, match=r"fewer than objective\.codebook_size=100000; set that lower"):
        prepare_codebook(words(100_000), encoder_of(held), held, np.arange(2))
