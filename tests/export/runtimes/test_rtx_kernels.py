"""TensorRT-RTX's own graphs and its cache of kernels, over a stand-in for its bindings."""

import numpy as np

from bandloom.export.runtimes.cuda_memory import Cuda
from bandloom.export.runtimes.engine_runner import EngineRunner, shapes_of
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from tests.export.fake_gpu import FakeCudart, FakeRtx
from tests.export.runtimes.test_engine_runner import engine_file, model  # noqa: F401
from tests.export.tiny_model import random_chips, tiny_contract


def test_tensorrt_rtx_makes_its_own_graphs_and_keeps_what_it_compiled(model, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("BANDLOOM_RTX_CACHE", str(tmp_path / "kernels"))
    expected = OnnxRunner(model, threads=1).run(random_chips(tiny_contract(), 4))
    loads = []
    for stored in (None, None, b"damaged"):
        if stored:
            next((tmp_path / "kernels").iterdir()).write_bytes(stored)
        cudart = FakeCudart()
        trt = FakeRtx(cudart, model, shapes_of(tiny_contract()))
        runner = EngineRunner(trt, b"plan", engine_file(backend="tensorrt-rtx"), tiny_contract(), Cuda(cudart))
        for _ in range(3):
            np.testing.assert_allclose(runner.run(random_chips(tiny_contract(), 4)), expected, atol=1e-6)
        assert cudart.launched == 0
        config = trt.configs[0]
        assert config.cuda_graph_strategy == trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        assert config.cache is not None
        loads.append(config.loaded)
    assert loads == [b"", b"kernels of this box", b""]
    (kept,) = (tmp_path / "kernels").iterdir()
    assert kept.read_bytes() == b"kernels of this box"
    assert "sm_89" in kept.name


def test_a_folder_that_cannot_be_written_changes_no_answer(model, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BANDLOOM_RTX_CACHE", str(tmp_path / "file"))
    cudart = FakeCudart()
    trt = FakeRtx(cudart, model, shapes_of(tiny_contract()))
    runner = EngineRunner(trt, b"plan", engine_file(backend="tensorrt-rtx"), tiny_contract(), Cuda(cudart))
    assert runner.run(random_chips(tiny_contract(), 2)).shape[0] == 2
