"""Distillation against loops that a person can check; a student that is its teacher has nothing to learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bandloom.command_line.config import load_config
from bandloom.errors import CheckpointError
from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import DecoderConfig, ObjectiveConfig, PretrainConfig
from bandloom.pretrain.loss import MaskedLoss
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.pretrain.objectives.distil import Distillation, whitening
from bandloom.sensors import SLOTS, Sensor, get_sensor
from bandloom.shards.synth import SENSOR, synthesise
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.ranks import Ranks
from tests.public_encoder_folders import tiny_galileo

STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.08))
SMALL = DecoderConfig(embed_dim=32, depth=1, num_heads=2)
ALONE = Ranks(0, 0, 1, torch.device("cpu"))
L2A = get_sensor("sentinel2-l2a")


def own_encoder(seed: int, token_m: int = 60) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(EncoderConfig(embed_dim=32, depth=1, num_heads=2, token_m=token_m), STATISTICS).eval()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "checkpoint"
    save_encoder(folder, own_encoder(1), [SENSOR], {})
    return folder


def student(teacher: Path, token_m: int = 60, **objective: object) -> MaskedAutoencoder:
    config = ObjectiveConfig(**({"kind": "distil", "teacher": teacher, "mask_ratio": 0.5} | objective))
    return MaskedAutoencoder(own_encoder(2, token_m), SMALL, config)


def batch(size: int = 4, sensor: Sensor = SENSOR, side_px: int = 48) -> DeviceBatch:
    """Return synthetic samples; Sentinel-2's Level-2A has the first bands of each of Level-1C's grids."""
    scenes = [synthesise(side_px, seed).groups for seed in range(size)]
    groups = {
        group.gsd_m: torch.from_numpy(np.stack([scene[group.gsd_m][: len(group.slots)] for scene in scenes]))
        for group in sensor.groups
    }
    draws = (np.arange(size) + 1).astype(np.uint64)
    return DeviceBatch(sensor, groups, tuple(f"s{index}" for index in range(size)), draws, None, None)


def loss_of(model: MaskedAutoencoder, given: DeviceBatch) -> torch.Tensor:
    return MaskedLoss(model, [SENSOR, L2A])(model, given)


def learn_statistics(model: MaskedAutoencoder, given: DeviceBatch) -> None:
    said, read = model.objective.teacher.tokens(given.groups, given.sensor)
    tokens = said[read]
    model.objective.set_statistics(len(tokens), tokens.mean(0), torch.cov(tokens.T, correction=0))


@pytest.mark.parametrize("whitened", ["channels", "full"])
def test_a_student_that_is_its_teacher_has_no_loss(teacher: Path, whitened: str) -> None:
    """All tokens are seen, with all bands, and the linear map of visible tokens is the whitening itself."""
    model, given = student(teacher, mask_ratio=0.001, band_dropout=0.0, whitening=whitened), batch()
    model.encoder.load_state_dict(load_encoder(teacher).state_dict())
    learn_statistics(model, given)
    objective = model.objective
    assert isinstance(objective, Distillation)
    assert model.visible_pred is not None
    assert loss_of(model, given).item() > 0.1
    model.visible_pred.weight.data = objective.whiten.T.clone()
    model.visible_pred.bias.data = -objective.centre @ objective.whiten
    assert loss_of(model, given).item() < 1e-8


@pytest.mark.parametrize("distance", ["smooth_l1", "cosine"])
def test_the_loss_equals_a_loop_over_tokens_whitened_and_pooled_by_hand(teacher: Path, distance: str) -> None:
    """The student's tokens are twice as long as the teacher's; part of the ground was never measured."""
    model, given = student(teacher, token_m=120, distance=distance), batch(2)
    given.groups[10][0, :, :24, :24] = given.groups[20][0, :, :12, :12] = given.groups[60][0, :, :4, :4] = 0
    learn_statistics(model, given)
    model.eval()
    encoder = load_encoder(teacher).eval()
    with torch.no_grad():
        said, read = encoder(given.groups, SENSOR), encoder.samples(given.groups, SENSOR)[1].any(-1)
        decoded = model.decode(given)
        loss = float(loss_of(model, given))
    assert decoded.visible is not None
    costs = []
    for b in range(2):
        for y in range(4):
            for x in range(4):
                under = [(2 * y + i) * 8 + 2 * x + j for i in (0, 1) for j in (0, 1)]
                under = [t for t in under if read[b, t]]
                if not under:
                    continue
                pooled = sum(said[b, t] for t in under) / len(under)
                target = ((pooled - model.objective.centre)[None] @ model.objective.whiten)[0]
                t = 4 * y + x
                own = (decoded.outputs if decoded.mask[b, t] else decoded.visible)[b, t]
                if distance == "cosine":
                    costs.append(1 - float(own @ target / own.norm() / target.norm()))
                else:
                    gaps = (own - target).abs().tolist()
                    costs.append(np.mean([gap**2 / 2 if gap < 1 else gap - 0.5 for gap in gaps]))
    assert len(costs) == 28  # four of the first sample's sixteen were never measured
    assert loss == pytest.approx(np.mean(costs), rel=1e-5)


def test_whitened_tokens_have_unit_variance_and_in_full_no_correlation() -> None:
    tokens = torch.randn(4000, 5, generator=torch.Generator().manual_seed(0)) @ torch.randn(5, 5)
    covariance = torch.cov(tokens.T, correction=0)
    for full in (False, True):
        found = torch.cov(((tokens - tokens.mean(0)) @ whitening(covariance, full=full)).T, correction=0)
        torch.testing.assert_close(found.diagonal(), torch.ones(5), rtol=1e-3, atol=1e-3)
        if full:
            torch.testing.assert_close(found, torch.eye(5), rtol=1e-3, atol=1e-3)


def test_micro_batches_give_the_joined_batch_s_loss_and_gradients(teacher: Path) -> None:
    given = batch(4)
    given.groups[10][0, :, :24] = given.groups[20][0, :, :12] = given.groups[60][0, :, :4] = 0  # other counts in each
    found = []
    for parts in (1, 2, 4):
        model = student(teacher, pixel_weight=0.5)
        learn_statistics(model, given)
        loss = MaskedLoss(model, [SENSOR, L2A])
        total = 0.0
        for share in loss.shares(model, given.split(parts), ALONE):
            share.backward()
            total += share.item()
        found.append((total, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])))
    for total, gradients in found[1:]:
        assert total == pytest.approx(found[0][0], rel=1e-6)
        torch.testing.assert_close(gradients, found[0][1], rtol=1e-4, atol=1e-6)


def test_the_pixel_loss_is_added_with_its_weight(teacher: Path) -> None:
    given = batch(3)
    weighed = {weight: student(teacher, pixel_weight=weight) for weight in (1e-9, 1.0, 2.0)}
    for model in weighed.values():
        learn_statistics(model, given)
    tokens, one, two = (loss_of(model.eval(), given).item() for model in weighed.values())
    assert two - one == pytest.approx(one - tokens, rel=1e-4)
    pixels = student(teacher, pixel_weight=1.0).eval()
    own = pixels.objective.pixels
    assert one - tokens == pytest.approx(own(pixels.objective._of_pixels(pixels.decode(given))).loss().item(), rel=1e-4)


def test_the_student_learns_what_the_teacher_says(teacher: Path) -> None:
    model, given = student(teacher), batch(6)
    learn_statistics(model, given)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(60):
        loss = loss_of(model, given)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert all(p.grad is None for p in model.objective.teacher.encoder.parameters())


def test_the_teacher_is_no_part_of_the_model_but_its_statistics_are(teacher: Path) -> None:
    names = student(teacher).state_dict()
    assert {"objective.centre", "objective.whiten", "objective.seen"} <= names.keys()
    assert not [name for name in names if name.startswith("objective.") and "weight" in name]


def test_every_weight_gets_a_gradient(teacher: Path) -> None:
    model = student(teacher, pixel_weight=1.0, band_dropout=1.0)
    loss_of(model, batch(3)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


def test_of_a_level_that_the_teacher_never_saw_pixels_alone_are_learnt(teacher: Path) -> None:
    given = batch(2, L2A)
    model = student(teacher, pixel_weight=2.0, untaught="pixels").eval()
    assert (model.objective.terms(L2A), model.objective.terms(SENSOR)) == (3, 4)
    own = model.objective.pixels(model.objective._of_pixels(model.decode(given)))
    assert loss_of(model, given).item() == pytest.approx(2 * own.loss().item(), rel=1e-6)
    with pytest.raises(CheckpointError, match=r"trained on toa reflectance.* is surface"):
        model.objective.teacher.check_sensor(L2A)


def test_a_public_teacher_s_five_tokens_a_place_become_one_whatever_the_student_s_tokens(tmp_path: Path) -> None:
    public = tiny_galileo(tmp_path / "galileo")
    for token_m, tokens in ((60, 64), (120, 16), (240, 4)):
        model = student(public, token_m)
        target, read = model.objective.target(batch(2))
        assert target.shape == (2, tokens, 32)
        assert read.all()
        assert torch.isfinite(loss_of(model, batch(2)))
    whole, _ = student(public, 60).objective.teacher.tokens(batch(2).groups, SENSOR)
    pooled, _ = student(public, 240).objective.teacher.tokens(batch(2).groups, SENSOR)
    torch.testing.assert_close(whole.unflatten(1, (2, 4, 2, 4)).mean((2, 4)).flatten(1, 2), pooled)


def test_a_config_without_a_teacher_or_with_its_keys_elsewhere_is_refused_and_the_former_key_is_read() -> None:
    with pytest.raises(ValidationError, match="distil needs a teacher"):
        ObjectiveConfig(kind="distil")
    with pytest.raises(ValidationError, match="teacher is x, which nothing reads where kind is pixels"):
        ObjectiveConfig(teacher="x")
    with pytest.raises(ValidationError, match="untaught is pixels where pixel_weight is 0"):
        ObjectiveConfig(kind="distil", teacher="x", untaught="pixels")
    assert ObjectiveConfig(target="latent").kind == "latent"
    assert load_config(PretrainConfig, None, ["shards=x", "objective.target=latent"]).objective.kind == "latent"
