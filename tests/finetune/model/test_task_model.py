import numpy as np
import pytest
import torch

from bandloom.errors import CheckpointError, ConfigError
from bandloom.export.from_torch.to_onnx import check_ops
from bandloom.finetune.model.task_model import TaskModel, set_trainable
from bandloom.model.embedding import unpatchify
from bandloom.sensors import get_sensor
from tests.finetune.models import LABELS, S2, chips, encoder, task_model


@pytest.mark.parametrize("sensor", ["sentinel2-l1c", "sentinel2-l2a", "landsat89-l1", "theos1"])
def test_a_segmenter_gives_every_10_m_pixel_its_logits_for_every_sensor(sensor):
    sensor = get_sensor(sensor)
    assert task_model(sensor=sensor)(chips(sensor)).shape == (2, 3, 24, 24)


def test_a_classifier_gives_every_chip_its_logits():
    assert task_model("classify")(chips()).shape == (2, 3)


def test_tokens_of_120_m_give_the_same_map_size():
    assert task_model(token_m=120)(chips()).shape == (2, 3, 24, 24)


def test_the_skip_sees_the_bands_as_the_encoder_does():
    model, groups = task_model(), chips()
    groups[10][0, 0, 3, 5] = 0
    groups[10][0, 1, 3, 5] = 65535
    samples, _ = model.encoder.samples(groups, S2)
    expected = unpatchify(samples[..., : 4 * 36], 6, 4)
    assert torch.allclose(model.pixel_bands(groups)[:, :4], expected, atol=1e-6)


def test_a_pixel_edge_survives_to_the_logits():
    model, groups = task_model(), chips()
    groups[10][:, :, :, 12:] += 3000
    fine = model.pixel_bands(groups)[:, :4]
    assert (fine[..., 12:].mean() - fine[..., :12].mean()) > 1


def test_frozen_lets_the_head_alone_learn():
    model = task_model()
    set_trainable(model, "frozen")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model(chips()).square().mean().backward()
    optimiser.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("head.") for name in moved)
    set_trainable(model, "full")
    still = {name for name, value in model.named_parameters() if not value.requires_grad}
    assert {name.rsplit(".", 2)[0] for name in still} == {"head.pixel.wide", "head.pixel.linear"}


def test_a_chip_that_tokens_do_not_tile_is_refused_with_one_that_fits():
    with pytest.raises(ConfigError, match=r"chip_px is 25.*use 24\."):
        task_model(chip_px=25)


def test_an_encoder_that_never_saw_a_band_is_refused_for_a_sensor_that_brings_it():
    seen = tuple(slot for slot in S2.slots if slot != "B10")
    with pytest.raises(CheckpointError, match=r"without B10, which 'sentinel2-l1c' brings"):
        TaskModel(encoder(seen), S2, LABELS, "segment", 24)


def test_unknown_tasks_are_refused():
    with pytest.raises(ConfigError, match="task is 'paint'"):
        task_model("paint")


@pytest.mark.filterwarnings("ignore::Warning")  # the exporter has many of its own
@pytest.mark.slow
@pytest.mark.parametrize("head", ["linear", "fpn", "dpt"])
def test_a_model_exports_to_onnx_and_computes_the_same(tmp_path, head):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, groups = TaskModel(encoder(), S2, LABELS, "segment", 24, head).eval(), chips()
    torch.nn.init.normal_(model.head.correct.weight)

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, g10: torch.Tensor, g20: torch.Tensor, g60: torch.Tensor) -> torch.Tensor:
            return self.model({10: g10, 20: g20, 60: g60})

    path = tmp_path / "m.onnx"
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.onnx.export(
        Flat().eval(),
        tuple(groups.values()),
        path,
        dynamo=True,
        opset_version=20,
        external_data=False,
        verbose=False,
        dynamic_shapes=({0: batch}, {0: batch}, {0: batch}),
    )
    check_ops(pytest.importorskip("onnx").load(path))  # engines have all of them
    session = onnxruntime.InferenceSession(path)
    other = chips(batch=3, seed=1)
    (got,) = session.run(None, {f"g{gsd}": value.numpy() for gsd, value in other.items()})
    np.testing.assert_allclose(got, model(other).detach().numpy(), atol=1e-4)
