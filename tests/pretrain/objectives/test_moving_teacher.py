"""The moving teacher: what it says, how it moves, and that a run goes on from a snapshot to the bit."""

import math
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import DecoderConfig, ObjectiveConfig
from bandloom.pretrain.loss import MaskedLoss
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.sensors import SLOTS
from bandloom.shards.synth import SENSOR, SyntheticScene, synthesise
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import LossSums

STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.08))
ALONE = Ranks(0, 0, 1, torch.device("cpu"))
STEPS = 6


def model(**objective: object) -> MaskedAutoencoder:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(embed_dim=64, depth=3, num_heads=2), STATISTICS)
    config = ObjectiveConfig(kind="moving_teacher", **objective)
    return MaskedAutoencoder(encoder, DecoderConfig(embed_dim=64, depth=1, num_heads=2), config)


@cache
def scene(seed: int) -> SyntheticScene:
    return synthesise(48, seed)


def batch(draw: int = 0, size: int = 4) -> DeviceBatch:
    scenes = [scene(3 + draw % 2 + index % 2) for index in range(size)]
    groups = {gsd: torch.from_numpy(np.stack([s.groups[gsd] for s in scenes])) for gsd in scenes[0].groups}
    draws = (np.arange(size) + 10 * draw).astype(np.uint64)
    return DeviceBatch(SENSOR, groups, tuple(map(str, range(size))), draws, None, None)


def engine_of(mae: MaskedAutoencoder, **settings: object):
    return make_engine(mae, EngineConfig(lr=1e-3, warmup_steps=1, precision="fp32", **settings), ALONE, STEPS)


def test_the_target_is_the_mean_of_the_last_two_blocks_layer_by_layer() -> None:
    mae, given = model().eval(), batch()
    with torch.no_grad():
        mae.objective.centre.copy_(torch.randn(64))
        decoded = mae.decode(given)
        own = mae.objective.teacher
        tokens = own.embed(*own.samples(given.groups, SENSOR), SENSOR) + own.positions(8, 8)
        outputs = []
        for block in own.blocks:
            tokens = block(tokens)
            centred = tokens - tokens.mean(-1, keepdim=True)
            outputs.append(centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt())
        expected = F.layer_norm((outputs[1] + outputs[2]) / 2 - mae.objective.centre, (64,))
        torch.testing.assert_close(mae.objective.target(decoded), expected, rtol=1e-4, atol=1e-4)


def test_the_loss_is_that_of_a_loop_over_hidden_tokens_and_the_pixels_stand_beside_it() -> None:
    mae, given = model(pixel_weight=0.5).eval(), batch()
    with torch.no_grad():
        decoded = mae.decode(given)
        target = mae.objective.target(decoded)
        errors = []
        for b, t in decoded.mask.nonzero().tolist():
            away = (decoded.outputs[b, t, :64] - target[b, t]).abs()
            errors.append(float(torch.where(away < 1, away**2 / 2, away - 0.5).mean()))
        pixels = mae.objective.pixels(mae.objective._of_pixels(decoded)).loss()
        assert float(LossSums(*mae(given)).loss()) == pytest.approx(np.mean(errors) + 0.5 * float(pixels), rel=1e-4)
        torch.testing.assert_close(mae.counts(given).double(), mae(given)[1].double())


def test_a_step_moves_the_teacher_towards_the_student_and_the_centre_towards_the_mean() -> None:
    mae = model(momentum=0.9)
    engine = engine_of(mae)
    before = [p.clone() for p in mae.objective.teacher.parameters()]
    with torch.no_grad():
        decoded = mae.eval().decode(batch())
        outputs = mae.objective.teacher
        tokens = outputs.embed(*outputs.samples(batch().groups, SENSOR), SENSOR) + outputs.positions(8, 8)
        said = []
        for block in outputs.blocks:
            tokens = block(tokens)
            said.append(F.layer_norm(tokens, (64,)))
        mean = ((said[1] + said[2]) / 2)[decoded.valid.any(-1)].mean(0)
    mae.train()
    engine.train_step([batch()], MaskedLoss(mae, [SENSOR]), 0)
    kept = 1 - 0.1 * (math.cos(math.pi / STEPS) + 1) / 2
    for old, now, new in zip(before, mae.objective.teacher.parameters(), mae.encoder.parameters(), strict=True):
        torch.testing.assert_close(now, kept * old + (1 - kept) * new)
    torch.testing.assert_close(mae.objective.centre, 0.05 * mean, rtol=1e-3, atol=1e-5)


def test_micro_batches_change_neither_loss_nor_weights_nor_centre() -> None:
    given = batch()
    halves = [
        DeviceBatch(
            SENSOR, {g: p[part] for g, p in given.groups.items()}, given.keys[part], given.draws[part], None, None
        )
        for part in (slice(0, 1), slice(1, 4))
    ]
    after = []
    for parts in ([given], halves):
        mae = model(band_dropout=0.0)
        engine = engine_of(mae, accumulate=len(parts))
        losses = [engine.train_step(parts, MaskedLoss(mae, [SENSOR]), step).read().loss for step in range(3)]
        after.append((losses, mae.objective.centre, mae.objective.teacher.blocks[0].mlp.fc1.weight))
    assert after[0][0] == pytest.approx(after[1][0], rel=1e-4)
    torch.testing.assert_close(after[0][1], after[1][1], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(after[0][2], after[1][2], rtol=1e-3, atol=1e-4)


def test_a_run_that_goes_on_from_a_snapshot_is_the_one_that_never_stopped() -> None:
    def steps(engine, mae, first: int, last: int) -> list[float]:
        return [
            engine.train_step([batch(step)], MaskedLoss(mae, [SENSOR]), step).read().loss for step in range(first, last)
        ]

    mae = model()
    engine = engine_of(mae)
    steps(engine, mae, 0, 3)
    held = engine.state()
    straight = steps(engine, mae, 3, STEPS)
    other = model()
    resumed = engine_of(other)
    resumed.load_state(held)
    assert steps(resumed, other, 3, STEPS) == straight
    for one, two in zip(mae.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_it_learns_without_falling_into_one_answer() -> None:
    mae = model(band_dropout=0.0, momentum=0.95)
    engine = make_engine(mae, EngineConfig(lr=2e-3, warmup_steps=5, precision="fp32"), ALONE, 40)
    losses = [engine.train_step([batch(step)], MaskedLoss(mae, [SENSOR]), step).read().loss for step in range(40)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    with torch.no_grad():
        tokens = mae.eval().encoder(batch().groups, SENSOR)
    assert float(tokens.std((0, 1)).mean()) > 0.1


def test_the_teacher_is_never_trained_and_drops_nothing() -> None:
    mae = model().train()
    assert not mae.objective.teacher.training
    assert not any(p.requires_grad for p in mae.objective.teacher.parameters())
