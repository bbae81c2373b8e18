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
from bandloom.export.from_torch.quantise import write_int8
from bandloom.export.from_torch.tile_sizes import default_tiling
from bandloom.export.from_torch.write_model import write_file
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.export.runtimes.replay import MOST_EXECUTED_ERROR, executed_error, require_exact
from tests.export.from_torch.test_export_run import task_model


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """Return the file, its chips and torch's answer of a classifier in int8."""
    model = task_model(task="classify")
    contract = contract_of_model(model, default_tiling(model))
    chips = held_chips(contract, Ground(), 64)
    folder = tmp_path_factory.mktemp("int8")
    write_file(folder, model, contract, "fp32", Ground())
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
