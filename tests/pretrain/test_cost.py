"""The formulas against torch's own counter."""

import os
from math import lcm
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from bandloom.model.checkpoint import load_encoder
from bandloom.model.encoder import Encoder
from bandloom.model.statistics import Statistics
from bandloom.pretrain.config import PretrainConfig
from bandloom.pretrain.cost import bytes_a_parameter, cost_of, meta_model, stem_flops
from bandloom.pretrain.mae import MaskedAutoencoder
from bandloom.pretrain.teacher import Teacher
from bandloom.public_encoders.family import families
from bandloom.sensors import SENSORS, SLOTS
from bandloom.training.device_batch import DeviceBatch
from tests.public_encoder_families import tiny_family
from tests.public_encoder_folders import tiny_galileo

L1C = SENSORS["sentinel2-l1c"]
SIDE_PX = 72


def batch_of(samples: int) -> DeviceBatch:
    rng = np.random.default_rng(0)
    groups = {}
    for group in L1C.groups:
        side = SIDE_PX * 10 // group.gsd_m
        shape = (samples, len(group.bands), side, side)
        groups[group.gsd_m] = torch.from_numpy(rng.integers(1000, 5000, shape).astype(np.uint16))
    keys = tuple(str(i) for i in range(samples))
    return DeviceBatch(L1C, groups, keys, np.arange(samples, dtype=np.uint64), None, None)


@pytest.fixture
def plain_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention as matrix products: the counter does not know the fused kernel of a CPU."""
    from timm.layers import set_fused_attn

    set_fused_attn(False)
    yield  # type: ignore[misc]
    set_fused_attn(True)


@pytest.mark.usefixtures("plain_attention")
@pytest.mark.parametrize(("token_m", "stem_filters"), [(60, 0), (120, 0), (60, 256), (120, 32)])
def test_flops_by_formula_are_what_torch_counts(token_m: int, stem_filters: int):
    config = PretrainConfig(shards=os.devnull, size="tiny", token_m=token_m, stem_filters=stem_filters)  # type: ignore[arg-type]
    statistics = Statistics(mean=dict.fromkeys(SLOTS, 0.1), std=dict.fromkeys(SLOTS, 0.1))
    encoder = Encoder(config.encoder(), statistics)
    model = MaskedAutoencoder(encoder, config.decoder_or_default(), config.objective)
    batch = batch_of(2)
    cost = cost_of(config, L1C, SIDE_PX)
    with FlopCounterMode(display=False) as counter:
        loss, _ = model(batch)
    assert counter.get_total_flops() / 2 == pytest.approx(cost.forward_flops, rel=0.01)
    with FlopCounterMode(display=False) as counter:
        loss.sum().backward()
    # nothing flows back into the samples, so the first layer costs once and not twice; of filters that is much
    filtering = stem_flops(encoder.config, L1C, cost.visible) - 2 * cost.visible * stem_filters * encoder.embed_dim
    assert counter.get_total_flops() / 2 == pytest.approx(2 * cost.forward_flops - filtering, rel=0.03)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_galileo(tmp_path_factory.mktemp("teacher") / "galileo", width=64, depth=3)


@pytest.mark.usefixtures("plain_attention")
@pytest.mark.parametrize(
    ("objective", "rel"),
    [
        ({"kind": "distil"}, 0.01),
        ({"kind": "distil", "pixel_weight": 1.0}, 0.01),
        ({"kind": "moving_teacher"}, 0.01),
    ],
)
def test_a_teachers_flops_are_what_torch_counts(objective: dict[str, object], rel: float, teacher: Path):
    held = {"teacher": teacher} if objective["kind"] == "distil" else {}
    config = PretrainConfig(shards=os.devnull, size="tiny", objective=objective | held)  # type: ignore[arg-type]
    statistics = Statistics(mean=dict.fromkeys(SLOTS, 0.1), std=dict.fromkeys(SLOTS, 0.1))
    model = MaskedAutoencoder(Encoder(config.encoder(), statistics), config.decoder_or_default(), config.objective)
    batch = batch_of(2)
    cost = cost_of(config, L1C, SIDE_PX)
    with FlopCounterMode(display=False) as counter:
        model(batch)
    assert cost.teacher_flops > 0.05 * cost.forward_flops
    assert counter.get_total_flops() / 2 == pytest.approx(cost.forward_flops + cost.teacher_flops, rel=rel)
    assert cost.train_flops == 3 * cost.forward_flops + cost.teacher_flops


@pytest.mark.usefixtures("plain_attention")
@pytest.mark.parametrize("family", sorted(families()))
def test_what_a_public_teacher_costs_is_counted_without_running_it(family: str, tmp_path: Path):
    encoder = load_encoder(tiny_galileo(tmp_path / "e") if family == "galileo" else tiny_family(family, tmp_path / "e"))
    sensor = SENSORS["sentinel2-l2a" if encoder.family.level == "surface" else "sentinel2-l1c"]
    side_px = lcm(encoder.chip_step_m, 480) // 10
    teacher = Teacher(encoder, 60)
    sides = {g.gsd_m: side_px * 10 // g.gsd_m for g in sensor.groups}
    groups = {
        g.gsd_m: torch.full((1, len(g.bands), sides[g.gsd_m], sides[g.gsd_m]), 2000, dtype=torch.int32)
        for g in sensor.groups
    }
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder.forward_features(groups, sensor)
    assert teacher.flops(sensor, side_px) == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_a_teacher_that_is_asked_for_a_share_of_samples_costs_that_share(teacher: Path):
    given = {"kind": "distil", "teacher": teacher}
    config = PretrainConfig(shards=os.devnull, size="tiny", objective=given)  # type: ignore[arg-type]
    every, half, none = (cost_of(config, L1C, SIDE_PX, taught=share) for share in (1.0, 0.5, 0.0))
    assert half.teacher_flops == every.teacher_flops / 2
    assert none.train_flops == 3 * none.forward_flops == 3 * every.forward_flops


@pytest.mark.parametrize(("size", "millions"), [("S", 21.3), ("B", 85.1), ("L", 302.3), ("H", 629.6), ("g", 1010.0)])
def test_sizes_have_the_parameters_of_their_papers_blocks(size: str, millions: float):
    """Published counts less the patch embedding and the class token: ours has another."""
    model = meta_model(PretrainConfig(shards=os.devnull, size=size))  # type: ignore[arg-type]
    blocks = sum(parameter.numel() for parameter in model.encoder.blocks.parameters())
    assert blocks / 1e6 == pytest.approx(millions, rel=0.002)


def test_sharding_spreads_what_it_says():
    def of(**engine: object) -> float:
        config = PretrainConfig(shards=os.devnull, trainer={"engine": {"precision": "fp32"} | engine})  # type: ignore[arg-type]
        return bytes_a_parameter(config, 8)

    assert of() == 20.0
    assert of(kind="deepspeed", zero_stage=1) == 12 / 8 + 8
    assert of(kind="deepspeed", zero_stage=2) == 16 / 8 + 4
    assert of(kind="deepspeed", zero_stage=3) == 20 / 8


def kept_bytes(config: PretrainConfig) -> int:
    """Return the bytes that autograd keeps of a step's forward pass: shapes are followed, nothing is computed."""
    kept: dict[int, torch.Tensor] = {}
    with FakeTensorMode(allow_non_fake_inputs=True):
        statistics = Statistics(mean=dict.fromkeys(SLOTS, 0.1), std=dict.fromkeys(SLOTS, 0.1))
        model = MaskedAutoencoder(
            Encoder(config.encoder(), statistics), config.decoder_or_default(), config.objective
        ).train()
        weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                kept.setdefault(storage._cdata, tensor)
            return tensor

        batch, side = config.trainer.batch_size, config.crop_px or 0
        shapes = {g.gsd_m: (batch, len(g.bands), side * 10 // g.gsd_m, side * 10 // g.gsd_m) for g in L1C.groups}
        groups = {gsd: torch.empty(shape, dtype=torch.uint16) for gsd, shape in shapes.items()}
        given = DeviceBatch(L1C, groups, tuple("k" * batch), np.arange(batch, dtype=np.uint64), None, None)
        bf16 = config.trainer.engine.precision == "bf16"
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            model(given)
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize(
    ("size", "precision", "kind", "stem_filters", "positions"),
    [
        ("demo", "bf16", "pixels", 0, "added"),
        ("S", "bf16", "pixels", 0, "added"),
        ("B", "bf16", "pixels", 0, "added"),
        ("L", "bf16", "pixels", 0, "added"),
        ("S", "fp32", "pixels", 0, "added"),
        ("demo", "bf16", "visual_words", 0, "added"),
        ("S", "fp32", "visual_words", 0, "added"),
        ("demo", "bf16", "pixels", 256, "added"),
        ("demo", "fp32", "pixels", 256, "added"),
        ("demo", "bf16", "pixels", 0, "rotary"),
        ("L", "bf16", "pixels", 0, "rotary"),
        ("S", "fp32", "pixels", 0, "rotary"),
    ],
)
def test_activations_are_what_autograd_keeps(size: str, precision: str, kind: str, stem_filters: int, positions: str):
    trainer = {"batch_size": 16, "engine": {"precision": precision}}
    given = {"size": size, "crop_px": 120, "trainer": trainer, "objective": {"kind": kind}}
    given |= {"stem_filters": stem_filters, "positions": positions}
    config = PretrainConfig(shards=os.devnull, **given)  # type: ignore[arg-type]
    cost = cost_of(config, L1C)
    casts = 2 * cost.parameters if precision == "bf16" else 0  # counted with the weights
    assert cost.activation_bytes == pytest.approx(kept_bytes(config) - casts, rel=0.05)


def test_activation_checkpointing_saves_most_of_the_activations():
    plain = cost_of(PretrainConfig(shards=os.devnull, size="L"), L1C)  # type: ignore[arg-type]
    trainer = {"engine": {"activation_checkpointing": True}}
    saved = cost_of(PretrainConfig(shards=os.devnull, size="L", trainer=trainer), L1C)  # type: ignore[arg-type]
    assert saved.activation_bytes < 0.25 * plain.activation_bytes
