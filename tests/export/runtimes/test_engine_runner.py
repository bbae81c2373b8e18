"""The engine runner over a stand-in for the device: every byte goes the way it goes on a GPU."""

import contextlib
import inspect
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from bandloom.export.bundle.record import EngineFile
from bandloom.export.predict.scene_mapper import Pace, SceneMapper
from bandloom.export.runtimes.cuda_memory import CALLS, CONSTANTS, Cuda, CudaError, Pair
from bandloom.export.runtimes.engine_runner import EngineRunner, shapes_of
from bandloom.export.runtimes.onnx_runner import OnnxRunner, Unavailable
from bandloom.sensors import get_sensor
from tests.export.array_scene import random_scene
from tests.export.fake_gpu import FakeContext, FakeCudart, FakeTrt
from tests.export.tiny_model import TILING, random_chips, tiny_contract, write_tiny_model


def engine_file(batch=(1, 4, 6), backend="tensorrt", **changes):
    return EngineFile(
        file="engines/e.engine",
        backend=backend,
        backend_version="0.0",
        precision="fp32",
        compute_capabilities=("sm_89",),
        batch=batch,
        built_without_gpu=False,
        **changes,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("engine") / "model.onnx"
    write_tiny_model(path, tiny_contract())
    return path


def loaded(model, cudart, batch=(1, 4, 6), plan=b"plan"):
    trt = FakeTrt(cudart, model, shapes_of(tiny_contract()))
    return EngineRunner(trt, plan, engine_file(batch), tiny_contract(), Cuda(cudart))


@pytest.mark.parametrize("count", [1, 3, 4, 6, 7, 13])
def test_any_batch_gives_the_models_own_answer(model, count):
    chips = random_chips(tiny_contract(), count)
    runner = loaded(model, FakeCudart(), batch=(2, 4, 6))
    expected = OnnxRunner(model, threads=1).run(chips)
    for _ in range(4):
        np.testing.assert_allclose(runner.run(chips), expected, atol=1e-6)


def test_the_usual_batch_becomes_a_graph_and_others_between_do_not_disturb_it(model):
    cudart = FakeCudart()
    runner = loaded(model, cudart)
    plain = OnnxRunner(model, threads=1)
    for seed, count in enumerate((4, 4, 4, 3, 4, 6, 4)):
        chips = random_chips(tiny_contract(), count, seed)
        np.testing.assert_allclose(runner.run(chips), plain.run(chips), atol=1e-6)
    assert cudart.launched == 4


def test_a_version_compatible_engine_may_run_the_code_that_it_brings(model):
    cudart = FakeCudart()
    trt = FakeTrt(cudart, model, shapes_of(tiny_contract()))
    with pytest.raises(Unavailable, match="host code is not allowed"):
        EngineRunner(trt, b"lean", engine_file(), tiny_contract(), Cuda(cudart))
    EngineRunner(trt, b"lean", engine_file(version_compatible=True), tiny_contract(), Cuda(cudart))


def test_memory_that_the_backend_refuses_is_a_sentence(model, monkeypatch):
    monkeypatch.setattr(FakeContext, "set_tensor_address", lambda self, name, address: name != "g20")
    with pytest.raises(Unavailable, match="takes no memory for g20: it gave no reason"):
        loaded(model, FakeCudart())


def test_a_reason_belongs_to_the_call_that_failed(model, monkeypatch):
    runner = loaded(model, FakeCudart())
    reasons = iter(["out of memory", "", "illegal address"])

    def fails(self, stream):
        if reason := next(reasons):
            self._logger.log(1, reason)
        return False

    monkeypatch.setattr(FakeContext, "execute_async_v3", fails)
    for expected in ("out of memory", "it gave no reason", "illegal address"):
        with pytest.raises(CudaError, match=rf"failed \({expected}\)"):
            runner.run(random_chips(tiny_contract(), 4))


def test_an_engine_that_cannot_be_captured_runs_plainly(model, monkeypatch):
    cudart = FakeCudart()
    runner = loaded(model, cudart)
    plain = FakeContext.execute_async_v3
    tries = []

    def refuses(self, stream):
        tries.append(stream in cudart.capturing)
        return not tries[-1] and plain(self, stream)

    monkeypatch.setattr(FakeContext, "execute_async_v3", refuses)
    expected = OnnxRunner(model, threads=1).run(random_chips(tiny_contract(), 4))
    for _ in range(5):
        np.testing.assert_allclose(runner.run(random_chips(tiny_contract(), 4)), expected, atol=1e-6)
    assert cudart.launched == 0
    assert tries.count(True) == 1


def test_two_lanes_answer_at_once_and_never_mix(model):
    cudart = FakeCudart()
    runner = loaded(model, cudart)
    plain = OnnxRunner(model, threads=1)
    asked = [random_chips(tiny_contract(), 4, seed) for seed in range(24)]
    expected = [plain.run(chips) for chips in asked]
    with ThreadPoolExecutor(6) as pool:
        for given, right in zip(pool.map(runner.run, asked), expected, strict=True):
            np.testing.assert_allclose(given, right, atol=1e-6)
    assert cudart.most_waiting <= runner.lanes


def test_a_scene_maps_the_same_with_two_lanes(model):
    scene = random_scene(get_sensor("sentinel2-l1c"), (23, 17), 3, holes=2)
    logits = []
    for runner in (loaded(model, FakeCudart()), OnnxRunner(model, threads=1)):
        mapper = SceneMapper(runner, TILING, 4, lambda: scene, pace=Pace(batch=4))
        logits.append(np.concatenate([rows.logits for rows in mapper.rows()], axis=1))
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)


def test_memory_and_streams_are_given_back(model):
    cudart = FakeCudart()
    runner = loaded(model, cudart)
    for _ in range(3):
        runner.run(random_chips(tiny_contract(), 4))
    assert cudart.memory
    runner.close()
    assert not cudart.memory
    assert not cudart.streams


def test_an_engine_that_cannot_be_deserialised_gives_the_backends_own_words(model):
    with pytest.raises(Unavailable, match="Version tag does not match"):
        loaded(model, FakeCudart(), plan=b"old")


def test_tensorrt_rtx_says_what_is_wrong_with_a_plan_and_does_not_crash():
    trt = pytest.importorskip("tensorrt_rtx", reason="pip install tensorrt-rtx", exc_type=ImportError)
    with pytest.raises(Unavailable, match=r"engines/e.engine cannot be loaded: (?!the backend gave no reason)"):
        EngineRunner(trt, b"no plan" * 999, engine_file(), tiny_contract(), Cuda(FakeCudart()))


def test_an_engine_with_other_tensors_is_refused(model):
    cudart = FakeCudart()
    trt = FakeTrt(cudart, model, {"input": (13, 48, 48), "logits": (4, 48, 48)})
    with pytest.raises(Unavailable, match="the record says"):
        EngineRunner(trt, b"plan", engine_file(), tiny_contract(), Cuda(cudart))


def test_a_device_without_memory_is_a_sentence(model):
    from bandloom.export.runtimes.cuda_memory import CudaError
    from tests.export.fake_gpu import Error

    cudart = FakeCudart()
    cudart.cudaMalloc = lambda size: (Error.cudaErrorMemoryAllocation, None)
    with pytest.raises(CudaError, match="cudaMalloc failed: cudaErrorMemoryAllocation"):
        loaded(model, cudart)


def test_every_cuda_name_that_is_used_is_in_the_published_bindings():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="pip install 'bandloom[tensorrt]'")
    missing = [name for name in (*CALLS, *CONSTANTS) if not hasattr(runtime, name)]
    assert not missing
    for name in ("cudaDevAttrComputeCapabilityMajor", "cudaDevAttrComputeCapabilityMinor"):
        assert hasattr(runtime.cudaDeviceAttr, name)
    for name in ("cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"):
        assert hasattr(runtime.cudaMemcpyKind, name)
    assert hasattr(runtime.cudaStreamCaptureMode, "cudaStreamCaptureModeThreadLocal")
    answer = runtime.cudaGetDeviceCount()
    assert isinstance(answer, tuple)
    assert len(answer) == 2


def test_the_stand_in_takes_what_the_published_bindings_take():
    """Every call of this room runs over the stand-in, so its parameters are compared with the real ones."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="pip install 'bandloom[tensorrt]'")
    for name in CALLS:
        real, ours = (inspect.signature(getattr(each, name)).parameters for each in (runtime, FakeCudart()))
        assert len(real) == len(ours), name


def test_without_a_driver_the_published_bindings_take_every_call_and_say_what_is_missing():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="pip install 'bandloom[tensorrt]'")
    cuda = Cuda()
    with contextlib.suppress(CudaError):
        cuda.device_count()
        pytest.skip("this machine has a GPU; bandloom doctor --gpu tries the calls there")
    pair = Pair(np.zeros(8, np.uint8), 1 << 20, 1 << 20)
    calls = (
        cuda.compute_capability,
        partial(cuda.allocate, 8),
        partial(cuda.free, pair),
        cuda.stream,
        partial(cuda.close_stream, 1),
        partial(cuda.wait, 1),
        partial(cuda.copy_in, pair, 8, 1),
        partial(cuda.copy_out, pair, 8, 1),
        partial(cuda.launch, runtime.cudaGraphExec_t(), 1),
        partial(cuda.close_graph, runtime.cudaGraphExec_t()),
        cuda.captured(1, []).__enter__,
    )
    for call in calls:
        with pytest.raises(CudaError, match=r"cuda\w+ failed: cudaError"):
            call()


def test_every_cuda_name_in_the_source_is_among_those_that_are_checked():
    import re
    from pathlib import Path

    import bandloom.export.runtimes.cuda_memory as source

    text = Path(source.__file__).read_text().split('"""', 2)[2]
    used = set(re.findall(r'"(cuda[A-Z]\w+)"|_calls\.(cuda[A-Z]\w+)', text))
    assert {name for pair in used for name in pair if name} == {*CALLS, *CONSTANTS}
