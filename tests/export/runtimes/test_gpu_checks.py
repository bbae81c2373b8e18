"""``bandloom doctor --gpu`` on a machine without a GPU, and over a stand-in for one."""

import pytest

from bandloom.export.runtimes import gpu_checks
from bandloom.export.runtimes.cuda_memory import Cuda
from bandloom.export.runtimes.engine_runner import shapes_of
from bandloom.export.runtimes.gpu_checks import gpu_checks as checks
from bandloom.export.runtimes.onnx_runner import Unavailable
from tests.export.fake_gpu import FakeCudart, FakeTrt
from tests.export.predict.test_map_scene import run
from tests.export.runtimes.test_choose import with_engine
from tests.export.tiny_model import tiny_contract, write_tiny_bundle


def no_gpu() -> bool:
    try:
        gpu_checks.find_cuda()
    except Unavailable:
        return True
    return False


@pytest.mark.skipif(not no_gpu(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_says_so_and_fails(tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    assert run("doctor", "--gpu", "--bundle", bundle) == 1
    said = capsys.readouterr().out
    assert said.startswith("fail   CUDA driver")
    assert "pass   the bundle" in said
    assert "it has none; bandloom bundle build" in said
    assert "engines will not run here" in said


@pytest.fixture
def box(monkeypatch, tmp_path):
    """A machine that seems to have a GPU, TensorRT and an engine that answers as the model does."""
    from bandloom.export.runtimes import choose as runtimes

    bundle = with_engine(write_tiny_bundle(tmp_path / "tiny"), b"plan", backend="tensorrt")
    cudart = FakeCudart()
    trt = FakeTrt(cudart, bundle.path / "model.onnx", shapes_of(tiny_contract()))
    for module in (runtimes, gpu_checks):
        monkeypatch.setattr(module, "find_cuda", lambda: Cuda(cudart))
        monkeypatch.setattr(module, "load_backend", lambda _: trt)
    monkeypatch.setattr(gpu_checks, "COPIED_BYTES", 1_000_000)
    return bundle


def test_a_box_that_works_passes_line_by_line(box, monkeypatch, capsys):
    monkeypatch.setattr(gpu_checks, "SLOWEST_GB_S", 0.0)
    assert run("doctor", "--gpu", "--bundle", box.path) == 0
    said = capsys.readouterr().out
    assert "pass   CUDA driver                1 GPU, sm_89, driver for CUDA 13.0" in said
    assert "pass   golden, tensorrt fp32" in said
    assert "this machine can run engines" in said


def test_an_engine_that_answers_wrongly_fails_its_line_alone(box, monkeypatch):
    monkeypatch.setattr(gpu_checks, "SLOWEST_GB_S", 0.0)
    monkeypatch.setattr("bandloom.export.runtimes.engine_runner.EngineRunner._run", lambda self, feed: _noise(feed))
    verdicts = {check.name: check.verdict for check in checks(box.path)}
    assert verdicts["golden, tensorrt fp32"] == "fail"
    assert [name for name, verdict in verdicts.items() if verdict == "fail"] == ["golden, tensorrt fp32"]


def _noise(feed):
    import numpy as np

    return np.zeros((len(next(iter(feed.values()))), 4, 48, 48), np.float32)


def test_a_slow_bus_fails(box, monkeypatch):
    monkeypatch.setattr(gpu_checks, "SLOWEST_GB_S", 1e9)
    found = {check.name: check for check in checks()}
    assert found["pinned memory to the GPU"].verdict == "fail"
    assert "expected at least" in found["pinned memory to the GPU"].said
