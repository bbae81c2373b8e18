"""The masked autoencoder: nothing hidden leaks, every weight learns, other sensors are first-class."""

import numpy as np
import pytest
import torch

from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.model.token_layout import token_layout
from bandloom.pretrain.config import DecoderConfig, ObjectiveConfig
from bandloom.pretrain.loss import MaskedLoss
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.pretrain.objectives.pixels import pixel_loss
from bandloom.pretrain.pictures import save_reconstructions
from bandloom.sensors import SLOTS, Sensor, get_sensor
from bandloom.shards.synth import SENSOR, synthesise
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.step_loss import LossSums

STATISTICS = Statistics(mean=dict.fromkeys(SLOTS, 0.15), std=dict.fromkeys(SLOTS, 0.08))
SMALL = DecoderConfig(embed_dim=64, depth=1, num_heads=2)
SHAPES: tuple[dict[str, object], ...] = ({}, {"stem_filters": 8}, {"positions": "rotary"})


def model(shape: dict[str, object] | None = None, **objective: object) -> MaskedAutoencoder:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(embed_dim=64, depth=2, num_heads=2, **(shape or {})), STATISTICS)
    return MaskedAutoencoder(encoder, SMALL, ObjectiveConfig(**objective))


def batch(sensor: Sensor = SENSOR, side_m: int = 480, size: int = 3, seed: int = 0) -> DeviceBatch:
    rng = np.random.default_rng(seed)
    groups = {
        g.gsd_m: torch.from_numpy(
            rng.integers(1200, 4000, (size, len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m)).astype(np.uint16)
        )
        for g in sensor.groups
    }
    return DeviceBatch(sensor, groups, tuple("abc"[:size]), rng.integers(1, 2**62, size).astype(np.uint64), None, None)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_hidden_does_not_change_what_is_predicted(shape: dict[str, object]) -> None:
    mae, given = model(shape, band_dropout=0.0).eval(), batch()
    before = mae.predict(given)
    changed = {gsd: group.clone() for gsd, group in given.groups.items()}
    for gsd, group in changed.items():
        side = 60 // gsd
        for b, t in before.mask.nonzero().tolist():
            y, x = divmod(t, 8)
            group[b, :, y * side : (y + 1) * side, x * side : (x + 1) * side] = 9000
    after = mae.predict(DeviceBatch(SENSOR, changed, given.keys, given.draws, None, None))
    assert torch.equal(before.mask, after.mask)
    torch.testing.assert_close(before.samples, after.samples)


def test_decoded_tokens_stand_where_they_were_cut() -> None:
    """With a decoder that hands its tokens through, the visible ones come back at their own places."""
    mae, given = model(band_dropout=0.0).eval(), batch()
    samples, _ = mae.encoder.samples(given.groups, SENSOR)
    prediction = mae.predict(given)
    assert prediction.target.shape == prediction.samples.shape == samples.shape
    assert torch.equal(prediction.target, samples)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_weight_gets_a_gradient(shape: dict[str, object]) -> None:
    mae = model(shape, band_dropout=1.0)
    LossSums(*mae(batch(size=3))).loss().backward()
    assert [name for name, p in mae.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


def test_dropped_bands_stay_in_the_target() -> None:
    mae, given = model(band_dropout=1.0).eval(), batch()
    assert mae.predict(given).valid.all()


@pytest.mark.parametrize("name", ["landsat89-l1", "theos1", "sentinel2-l2a"])
def test_other_sensors_are_predicted_on_their_own_grid(name: str) -> None:
    sensor = get_sensor(name)
    prediction = model().predict(batch(sensor))
    assert prediction.samples.shape == (3, 64, token_layout(sensor, 60).samples)
    assert torch.isfinite(pixel_loss(prediction, ObjectiveConfig()).loss())


def test_a_coarser_sensors_prediction_is_the_block_mean_of_the_reference() -> None:
    mae = model(kind="pixels")
    sensor = Sensor("pairs", "toa", (get_sensor("landsat89-l1").band("B6"),))  # 30 m in a 20 m slot
    reference = torch.randn(1, 1, mae.objective.layout.samples)
    own = next(slot for slot in mae.objective.layout.slots if slot.slot == "B11")
    square = reference[0, 0, own.start : own.stop].reshape(3, 3)
    fine = square.repeat_interleave(2, 0).repeat_interleave(2, 1)  # 10 m cells
    expected = fine.reshape(2, 3, 2, 3).mean((1, 3)).flatten()
    torch.testing.assert_close(mae.objective.to_sensor(reference, sensor)[0, 0], expected)


def test_the_loss_falls_on_a_scene_and_the_mean_is_beaten() -> None:
    scene = synthesise(96, 3)
    groups = {gsd: torch.from_numpy(group)[None].repeat(4, 1, 1, 1) for gsd, group in scene.groups.items()}
    mae = model(band_dropout=0.0)
    optimizer = torch.optim.AdamW(mae.parameters(), lr=2e-3)
    losses = []
    for step in range(60):
        draws = (np.arange(4) + 10 * step).astype(np.uint64)
        loss = MaskedLoss(mae, [SENSOR])(mae, DeviceBatch(SENSOR, groups, tuple("abcd"), draws, None, None))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])


def test_reconstructions_are_written_as_a_picture(tmp_path) -> None:
    save_reconstructions(model(), batch(), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    save_reconstructions(model(), batch(get_sensor("theos1")), tmp_path / "theos.png")  # lacks the infrared planes
    assert (tmp_path / "theos.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor"
)  # the tracer's own, where it goes on after a break
def test_a_compiler_can_trace_it_and_finds_the_same_loss() -> None:
    own, given = model(), batch()
    traced = torch.compile(own, backend="aot_eager")
    assert LossSums(*traced(given)).loss().item() == pytest.approx(LossSums(*own(given)).loss().item(), rel=1e-6)
