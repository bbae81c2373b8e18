"""Models answer the same as graphs: classifiers that read filters and statistics, and encoders with a stem."""

import numpy as np
import onnxruntime
import pytest
import torch

from bandloom.export.from_torch.export_run import contract_of_model
from bandloom.export.from_torch.half_precision import CastGraph
from bandloom.export.from_torch.tile_sizes import default_tiling
from bandloom.export.from_torch.to_onnx import DeployGraph, write_onnx
from tests.finetune.model.test_chip_parts import weighed
from tests.finetune.models import chips, task_model


def pairs() -> list[torch.Tensor]:
    return [torch.stack([dn.int() % 256, dn.int() // 256], -1).to(torch.uint8) for dn in chips().values()]


@pytest.mark.slow
def test_weighed_parts_beside_an_encoder_with_a_stem_and_rotary_positions_answer_in_onnxruntime_as_in_torch(tmp_path):
    model = weighed(0.5, 0.5, depth=1, stem_filters=8, positions="rotary")
    write_onnx(DeployGraph(model), contract_of_model(model, default_tiling(model)), tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    feed = {given.name: pair.numpy() for given, pair in zip(session.get_inputs(), pairs(), strict=True)}
    with torch.no_grad():
        wanted = model(chips()).numpy()
    np.testing.assert_allclose(np.asarray(session.run(None, feed)[0]), wanted, atol=1e-4)


@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.02), ("bf16", 0.15)])
@pytest.mark.parametrize("shape", [{"stem_filters": 8}, {"positions": "rotary"}])
def test_a_stem_and_rotary_positions_keep_their_answer_in_16_bits(shape, precision, most):
    model = task_model(**shape).eval()
    with torch.no_grad():
        assert torch.allclose(CastGraph(model, precision)(*pairs()), model(chips()), atol=most)


@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.05), ("bf16", 0.4)])
def test_weighed_parts_keep_their_answer_in_16_bits(precision, most):
    model = weighed(0.5, 0.5)
    with torch.no_grad():
        assert torch.allclose(CastGraph(model, precision)(*pairs()), model(chips()), atol=most)
