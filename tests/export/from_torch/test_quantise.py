"""An int8 model answers alike on every processor: one without VNNI is emulated where QEMU is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bandloom.errors import BundleError
from bandloom.export.from_torch.export_run import contract_of_model
from bandloom.export.from_torch.held_chips import Ground, held_chips
from bandloom.export.from_torch.parity import torch_logits
from bandloom.export.from_torch.quantise import SCOPES_KEY, blocks_of, write_int8
from bandloom.export.from_torch.tile_sizes import default_tiling
from bandloom.export.from_torch.write_model import write_file
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.export.runtimes.replay import MOST_EXECUTED_ERROR, executed_error, require_exact
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.checkpoint import load_encoder
from tests.finetune.models import LABELS, S2
from tests.public_encoder_families import tiny_family


@pytest.fixture(scope="module")
def quantised(exported_run, tmp_path_factory):
    """Return the file, its chips and torch's answer of a model in int8."""
    model, bundle = exported_run
    chips = held_chips(bundle.contract, Ground(), 16)
    folder = tmp_path_factory.mktemp("int8")
    shutil.copy(bundle.path / "model.onnx", folder)
    write_int8(folder / "model.onnx", folder / "model.int8.onnx", chips)
    return folder / "model.int8.onnx", chips, torch_logits(model, chips.groups)


def weights(path: Path) -> list[np.ndarray]:
    held = [numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer]
    return [value for value in held if value.dtype == np.int8 and value.ndim > 1]


def test_no_two_products_can_pass_sixteen_bits(quantised):
    path, _, _ = quantised
    assert len(weights(path)) > 3
    for matrix in weights(path):
        largest = np.abs(matrix.astype(np.int32))
        assert 2 * 255 * largest.max() <= np.iinfo(np.int16).max
        assert largest.max() >= 60  # the seven bits are used


def test_a_layer_that_16_bits_do_not_bear_keeps_its_whole_block_in_float():
    wide = ("encoder.blocks.0.attn", "encoder.blocks.0.attn.qkv", "encoder.blocks.11.mlp.fc2", "head.classify")
    assert blocks_of(wide) == ("encoder.blocks.0", "encoder.blocks.11", "head.classify")
    assert blocks_of(()) == ()
    assert blocks_of(("encoder.embed", "encoder.embed.project.0")) == ()  # nothing of it is quantised anyway


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segment", "classify"])
def test_of_a_convolutional_encoder_its_own_convolutions_are_quantised_and_none_of_the_head(task, tmp_path):
    """A head's convolutions read the pixels themselves, some with large weights that cancel each other."""
    encoder = load_encoder(tiny_family("ssl4eo_resnet", tmp_path / "r"))
    model = TaskModel(encoder, S2, LABELS, task, 96).eval()
    contract = contract_of_model(model, default_tiling(model))
    write_file(tmp_path, model, contract, "fp32", Ground())
    write_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx", held_chips(contract, Ground(), 2))
    graph = onnx.load(tmp_path / "int8.onnx").graph
    dequantised = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    weights = [dequantised[node.input[1]] for node in graph.node if node.input[1:2] and node.input[1] in dequantised]
    assert sum("encoder.blocks." in name for name in weights) == 16
    assert not any("head." in name for name in weights)
    assert not any("encoder.embed" in name for name in weights)


def products(path: Path, block: str) -> tuple[int, int]:
    """Return how many products with a weight a block has in float, and how many behind a dequantised weight."""
    graph = onnx.load(path).graph
    dequantised = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    weights = {tensor.name for tensor in graph.initializer}
    names = {
        node.name
        for node in onnx.load(path.with_name("model.onnx")).graph.node
        for prop in node.metadata_props
        if prop.key == SCOPES_KEY and f"'model.{block}'" in prop.value
    }
    inputs = [node.input[1] for node in graph.node if node.name in names and node.op_type in ("MatMul", "Gemm")]
    return sum(name in weights for name in inputs), sum(name in dequantised for name in inputs)


def test_nothing_is_quantised_of_a_block_that_is_to_stay_in_float(quantised, tmp_path):
    path, chips, _ = quantised
    assert products(path, "encoder.blocks.0") == (0, 4)
    shutil.copy(path.with_name("model.onnx"), tmp_path)
    write_int8(tmp_path / "model.onnx", tmp_path / "int8.onnx", chips, ["encoder.blocks.0"])
    assert products(tmp_path / "int8.onnx", "encoder.blocks.0") == (4, 0)
    assert products(tmp_path / "int8.onnx", "encoder.blocks.1") == (0, 4)


def test_a_file_that_does_not_say_where_its_nodes_came_from_and_one_without_a_layer_left_are_refused(
    quantised, tmp_path
):
    path, chips, _ = quantised
    proto = onnx.load(path.with_name("model.onnx"))
    onnx.save(proto, tmp_path / "whole.onnx")
    for node in proto.graph.node:
        del node.metadata_props[:]
    onnx.save(proto, tmp_path / "bare.onnx")
    with pytest.raises(BundleError, match=r"does not say which of its nodes belong to encoder\.blocks\.0"):
        write_int8(tmp_path / "bare.onnx", tmp_path / "int8.onnx", chips, ["encoder.blocks.0"])
    with pytest.raises(BundleError, match="all linear layers of the model have to stay in fp32"):
        write_int8(
            tmp_path / "whole.onnx", tmp_path / "int8.onnx", chips, ["encoder.blocks.0", "encoder.blocks.1", "head"]
        )


class Saturating:
    """Answers as far off as saturated products do: by more than quantisation itself."""

    name, lanes = "a processor without VNNI", 1

    def __init__(self, exact: np.ndarray, unit: float) -> None:
        self._answer = exact + unit * np.random.default_rng(0).standard_normal(exact.shape).astype(np.float32)

    def run(self, groups):
        return self._answer


def test_a_processor_that_computes_int8_wrongly_is_refused_in_words(quantised):
    path, chips, expected = quantised
    exact = OnnxRunner(path, exact=True).run(chips.groups)
    unit = float(np.sqrt(np.mean((exact - expected) ** 2)))
    require_exact(path, OnnxRunner(path), chips.groups, expected)
    with pytest.raises(BundleError, match=r"computed wrongly by a processor without VNNI.*export the bundle anew"):
        require_exact(path, Saturating(exact, unit), chips.groups, expected)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_same_answers_come_out_without_vnni(quantised, tmp_path):
    """A Haswell of QEMU has AVX2 and no VNNI; eight-bit weights came out 7 times their own error off on it."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("qemu-user is not installed")
    path, chips, expected = quantised
    np.savez(tmp_path / "chips.npz", **{str(gsd_m): dn for gsd_m, dn in chips.groups.items()})
    program = (
        "import sys, numpy as np\n"
        "from bandloom.export.runtimes.onnx_runner import OnnxRunner\n"
        "from pathlib import Path\n"
        "held = np.load(sys.argv[2]); groups = {int(name): held[name] for name in held.files}\n"
        "np.save(sys.argv[3], OnnxRunner(Path(sys.argv[1]), threads=1).run(groups))\n"
    )
    given = [str(path), str(tmp_path / "chips.npz"), str(tmp_path / "answer.npy")]
    command = [emulator, "-cpu", "Haswell", sys.executable, "-c", program, *given]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3], capture_output=True)
    emulated = np.load(tmp_path / "answer.npy")
    exact = OnnxRunner(path, exact=True).run(chips.groups)
    assert executed_error(emulated, exact, expected) < MOST_EXECUTED_ERROR / 5
    assert np.mean(emulated.argmax(1) == exact.argmax(1)) == 1
