"""16-bit and 8-bit models, and the audit that stands before them."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from bandloom.errors import BundleError
from bandloom.export.bundle.native_groups import byte_pairs
from bandloom.export.from_torch.audit_fp16 import audit_ranges, wide_layers
from bandloom.export.from_torch.export_run import contract_of_model, export_run
from bandloom.export.from_torch.half_precision import CastGraph
from bandloom.export.from_torch.held_chips import Ground, held_chips
from bandloom.export.from_torch.options import ExportOptions
from bandloom.export.from_torch.parity import torch_logits
from bandloom.export.from_torch.quantise import write_int8
from bandloom.export.from_torch.tile_sizes import default_tiling
from bandloom.export.from_torch.to_onnx import DeployGraph
from bandloom.export.from_torch.write_model import write_precision
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.export.runtimes.replay import compare
from bandloom.export.runtimes.show_bundle import tables
from bandloom.export.runtimes.verify import verify
from tests.export.from_torch.test_export_run import ALONE, task_model, write_run
from tests.export.predict.test_map_scene import run


@pytest.fixture(scope="module")
def exported(exported_run):
    return exported_run


def answer(graph, chips):
    with torch.no_grad():
        return graph(*[torch.from_numpy(byte_pairs(chips.groups[gsd_m])) for gsd_m in graph.gsds_m]).numpy()


def held(model, count=3):
    return held_chips(contract_of_model(model, default_tiling(model)), Ground(), count)


def test_the_bundle_holds_each_precision_with_its_parity_and_16_bits_are_those_of_large_weights(exported):
    _, bundle = exported
    assert [model.precision for model in bundle.record.models] == ["fp32", "fp16"]
    verify(bundle, "fp16")
    assert run("bundle", "verify", bundle.path) == 0
    weights_are_of(bundle, "fp16", onnx.TensorProto.FLOAT16)


@pytest.mark.slow
def test_a_bundle_with_bf16_holds_its_parity_in_torch_beside_those_of_fp32_and_fp16(tmp_path):
    write_run(tmp_path / "run", task_model(weights=ALONE))
    bundle = export_run(tmp_path / "run", tmp_path / "bundle", ExportOptions(precisions=("fp16", "bf16"), tile_px=36))
    assert [model.precision for model in bundle.record.models] == ["fp32", "fp16", "bf16"]
    assert bundle.model("fp16").parity.max_abs < bundle.model("bf16").parity.max_abs
    assert bundle.model("bf16").parity.runtime.startswith("torch")
    assert run("bundle", "verify", bundle.path) == 0
    weights_are_of(bundle, "bf16", onnx.TensorProto.BFLOAT16)


def weights_are_of(bundle, precision, kind):
    """Check that large weights have 16 bits and what needs range has not."""
    proto = onnx.load(bundle.path / bundle.model(precision).file)
    kinds = {each.name: each.data_type for each in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "LayerNormalization":
            assert kinds[node.input[1]] == onnx.TensorProto.FLOAT
    layers = [node for node in proto.graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    sizes = {each.name: np.prod(each.dims) for each in proto.graph.initializer}
    large = [kinds[name] for node in layers for name in node.input if sizes.get(name, 0) >= 1024]
    assert len(large) > 8
    assert set(large) == {kind}
    assert proto.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.parametrize(("task", "head"), [("segment", "linear"), ("classify", "linear"), ("classify", "joined")])
def test_a_cast_graph_in_fp32_is_the_model_itself(task, head):
    model = task_model(task=task, head=head)
    chips = held(model)
    np.testing.assert_allclose(answer(CastGraph(model, "fp32"), chips), torch_logits(model, chips.groups), atol=1e-4)


def test_casting_leaves_the_model_and_its_statistics_alone():
    model = task_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = CastGraph(model, "bf16")
    assert torch.equal(graph.model.encoder.embed.mean, model.encoder.embed.mean)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def plant_overflow(model):
    with torch.no_grad():
        model.encoder.blocks[1].mlp.fc2.bias[3] = 9e4
    return model


def sharpen_attention(model, factor=60.0):
    """Make queries and keys of the first block large, as Galileo-nano's are, so that its scores reach thousands."""
    with torch.no_grad():
        attention = model.encoder.blocks[0].attn.qkv
        attention.weight[: 2 * attention.in_features] *= factor
    return model


def test_a_planted_overflow_is_nan_in_fp16_unless_the_layers_that_the_audit_names_stay_in_fp32():
    model = plant_overflow(task_model())
    chips = held(model)
    expected = torch_logits(model, chips.groups)
    assert np.isnan(answer(CastGraph(model, "fp16"), chips)).mean() == 1.0
    wide = wide_layers(model, audit_ranges(model, [chips]), "fp16")
    assert "encoder.blocks.1.mlp.fc2" in wide
    assert "encoder.blocks.1" in wide  # the sum that the layer goes into
    assert "encoder.blocks.0.mlp.fc2" not in wide
    np.testing.assert_allclose(answer(CastGraph(model, "fp16", wide), chips), expected, atol=0.02)
    assert wide_layers(model, audit_ranges(model, [chips]), "bf16") == ()


def test_attention_whose_scores_are_too_large_for_16_bits_stays_in_fp32_and_is_nearer():
    model = sharpen_attention(task_model(task="classify"))
    chips = held(model)
    expected = torch_logits(model, chips.groups)
    wide = wide_layers(model, audit_ranges(model, [chips]), "fp16")
    assert wide == ("encoder.blocks.0.attn", "encoder.blocks.0.attn.qkv", "encoder.embed")
    plain, kept = (np.abs(answer(CastGraph(model, "fp16", names), chips) - expected).max() for names in ((), wide))
    assert kept < plain / 2


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_large_weights_of_opposite_sign_on_bands_that_go_together_do_not_multiply_rounding(precision):
    """A linear map fitted to the end has them: in 16 bits such a map errs by its weights times their rounding."""
    model = task_model()
    part = model.head.pixel
    part.weigh([0.0, 0.0, 0.0, 0.0, 1.0])
    with torch.no_grad():
        model.head.correct.weight.zero_()
        part.linear[0].weight.zero_()
        part.linear[0].weight[0, :2, 0, 0] = torch.tensor([300.0, -300.0])
    chips = held(model)
    expected = torch_logits(model, chips.groups)
    assert np.abs(expected).max() > 10
    assert np.abs(answer(CastGraph(model, precision), chips) - expected).max() < 1e-3


def test_quantiles_are_compared_in_fp32():
    """A narrow step multiplies what rounds in a band by as much as it is narrow."""
    model = task_model()
    with torch.no_grad():
        model.head.pixel.code.scale.fill_(97.0)
    graph, chips = CastGraph(model, "fp16"), held(model)
    own, cast = [], []
    model.head.pixel.code.register_forward_hook(lambda *given: own.append(given[-1]))
    graph.model.head.pixel.code.register_forward_hook(lambda *given: cast.append(given[-1]))
    answer(DeployGraph(model), chips)
    answer(graph, chips)
    assert len(own) == 3
    assert all(torch.equal(one, other) for one, other in zip(own, cast, strict=True))


@pytest.mark.parametrize(("precision", "limit"), [("fp16", 1024.0), ("bf16", 128.0)])
def test_a_score_may_err_by_half_and_any_other_value_reach_a_quarter_of_the_range(precision, limit):
    model = task_model()
    attention, linear = "encoder.blocks.0.attn", "encoder.blocks.0.mlp.fc1"
    quarter = torch.finfo({"fp16": torch.float16, "bf16": torch.bfloat16}[precision]).max / 4
    assert wide_layers(model, {attention: limit, linear: quarter}, precision) == ()
    assert wide_layers(model, {attention: limit * 1.01}, precision) == (attention, f"{attention}.qkv", "encoder.embed")
    later = attention.replace("0", "1")
    assert wide_layers(model, {later: limit * 1.01}, precision) == (later, f"{later}.qkv")
    assert wide_layers(model, {linear: quarter * 1.01}, precision) == (linear,)


def test_a_layer_that_is_not_finite_is_refused():
    with pytest.raises(BundleError, match=r"layer encoder.norm reaches nan on the audited chips, in fp32 too"):
        wide_layers(task_model(), {"encoder.norm": float("nan")}, "fp16")


def test_a_plain_model_keeps_no_layer_in_fp32():
    model = task_model()
    ranges = audit_ranges(model, [held(model)])
    assert wide_layers(model, ranges, "fp16") == ()
    assert "encoder.blocks.0.mlp.fc1" in ranges
    assert 0 < max(ranges.values()) < 1000


@pytest.mark.slow
def test_an_fp16_file_of_a_model_that_overflows_keeps_layers_in_fp32_and_passes_its_gate(tmp_path):
    model = plant_overflow(task_model())
    contract = contract_of_model(model, default_tiling(model))
    chips = held(model)
    expected = torch_logits(model, chips.groups)
    written = write_precision(tmp_path, model, contract, chips, expected, "fp16", Ground())
    assert "encoder.blocks.1.mlp.fc2" in written.fp32_layers
    assert written.parity.runtime.startswith("onnxruntime")
    assert written.parity.max_abs < 0.02
    proto = onnx.load(tmp_path / written.file)
    weights = [tensor for tensor in proto.graph.initializer if np.prod(tensor.dims) >= 1024]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT}


def test_inspect_names_the_layers_that_stay_in_fp32(exported):
    _, bundle = exported
    models = tuple(model.model_copy(update={"fp32_layers": ("encoder.norm",)}) for model in bundle.record.models)
    changed = replace(bundle, record=bundle.record.model_copy(update={"models": models}))
    shown = [cell for table in tables(changed) for column in table.columns for cell in column.cells]
    assert shown.count("encoder.norm") == len(models)


def test_an_unknown_precision_is_refused(tmp_path, capsys):
    write_run(tmp_path / "run", task_model())
    assert run("export", tmp_path / "run", "--out", tmp_path / "bundle", "--precision", "fp8") == 2
    assert "precision 'fp8' is not known; use some of fp32" in capsys.readouterr().err


def test_int8_quantises_linear_layers_alone_and_stays_close(exported, tmp_path):
    model, bundle = exported
    contract = bundle.contract
    chips = held_chips(contract, Ground(), 8)
    write_int8(bundle.path / bundle.model("fp32").file, tmp_path / "int8.onnx", chips)
    proto = onnx.load(tmp_path / "int8.onnx")
    ops = [node.op_type for node in proto.graph.node]
    assert "QuantizeLinear" in ops
    assert not {"DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"} & set(ops)
    assert any(
        each.data_type == onnx.TensorProto.INT8 and np.prod(each.dims) > 1000 for each in proto.graph.initializer
    )
    expected = torch_logits(model, chips.groups)
    _, agreement = compare(OnnxRunner(tmp_path / "int8.onnx").run(chips.groups), expected, contract)
    assert agreement > 0.85  # an untrained model's classes hang by a thread
    assert read_metadata(tmp_path / "int8.onnx") == contract.digest()


def read_metadata(path):
    return OnnxRunner(path).metadata["bandloom.contract"]
