"""IO binding, on the CPU as the device: the answers of a plain run, whatever the batch, the caller and the outputs."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest

from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.native_groups import group_feed
from bandloom.export.runtimes import onnx_runner
from bandloom.export.runtimes.bound_session import LANES, MOST_SHAPES, BoundSession
from bandloom.export.runtimes.choose import try_runtime
from bandloom.export.runtimes.onnx_runner import CUDA, OnnxRunner
from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import random_chips, write_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bound") / "tiny")


def feeds(bundle, *counts):
    contract = read_bundle(bundle).contract
    return [group_feed(random_chips(contract, count, seed=count)) for count in counts]


def plain(bundle):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(bundle / "model.onnx"), options)


def test_bound_batches_are_those_of_a_plain_run_to_the_bit(bundle):
    session = plain(bundle)
    bound = BoundSession(session, "cpu")
    given = feeds(bundle, 4, 1, 4, 3, 2, 5, 6, 4, 1)  # more shapes than are kept
    assert len({len(feed["g10"]) for feed in given}) > MOST_SHAPES
    answers = [bound.run(feed, ["logits"])[0] for feed in given]
    for feed, answer in zip(given, answers, strict=True):  # none was overwritten by a later batch
        np.testing.assert_array_equal(answer, session.run(["logits"], feed)[0])


def test_a_batch_of_a_known_shape_binds_nothing_anew(bundle):
    session = plain(bundle)
    made = []
    bound = BoundSession(Counted(session, made), "cpu")
    for feed in feeds(bundle, 4, 4, 4, 2, 4, 2):
        bound.run(feed, ["logits"])
    assert len(made) == 2  # a shape each, in the lane that is always free


class Counted:
    """A session that notes each binding asked of it."""

    def __init__(self, session, made):
        self._session, self._made = session, made

    def io_binding(self):
        self._made.append(self._session.io_binding())
        return self._made[-1]

    def __getattr__(self, name):
        return getattr(self._session, name)


def test_threads_do_not_write_into_each_others_batches(bundle):
    session = plain(bundle)
    bound = BoundSession(session, "cpu")
    given = feeds(bundle, *([3, 2, 1] * 8))
    with ThreadPoolExecutor(2 * LANES) as pool:
        answers = list(pool.map(lambda feed: bound.run(feed, ["logits"])[0], given))
    for feed, answer in zip(given, answers, strict=True):
        np.testing.assert_array_equal(answer, session.run(["logits"], feed)[0])


def test_further_outputs_are_bound_too(bundle, tmp_path):
    model = onnx.load(bundle / "model.onnx")
    inner = next(node.output[0] for node in model.graph.node if node.op_type == "Conv")
    model.graph.output.append(onnx.helper.make_tensor_value_info(inner, onnx.TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "two.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "two.onnx"))
    bound = BoundSession(session, "cpu")
    for feed in feeds(bundle, 2, 3, 2):
        for names in (["logits", inner], [inner], ["logits"]):
            for answer, expected in zip(bound.run(feed, names), session.run(names, feed), strict=True):
                np.testing.assert_array_equal(answer, expected)


def test_a_scene_mapped_through_bound_memory_is_the_same_map(bundle, tmp_path, monkeypatch):
    scene = write_stack(tmp_path / "scene.tif", (150, 150))
    assert run("predict", bundle, scene, "--out", tmp_path / "plain.tif", "--batch", "4") == 0
    used = []
    monkeypatch.setattr(onnx_runner, "BOUND_ON", {"CPUExecutionProvider": "cpu"})
    monkeypatch.setattr(onnx_runner, "BoundSession", lambda *given: used.append(1) or BoundSession(*given))
    assert run("predict", bundle, scene, "--out", tmp_path / "bound.tif", "--batch", "4") == 0
    assert used
    import rasterio

    with rasterio.open(tmp_path / "plain.tif") as one, rasterio.open(tmp_path / "bound.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())


def test_a_provider_that_is_not_there_binds_nothing(bundle):
    runner = OnnxRunner(bundle / "model.onnx", threads=1)
    assert runner.lanes == 1
    if CUDA not in onnxruntime.get_available_providers():
        assert "no CUDAExecutionProvider" in try_runtime(read_bundle(bundle), "onnxruntime-cuda").verdict


def test_a_gpus_session_finds_its_libraries_and_searches_no_kernels(bundle, monkeypatch):
    """On a stand-in for the provider: this onnxruntime has none, and would compute on the CPU."""
    done = []
    session = onnxruntime.InferenceSession

    def on_cpu(path, options, providers):
        done.append(providers)
        return session(path, options)

    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: done.append("libraries"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_cpu)
    OnnxRunner(bundle / "model.onnx", provider=CUDA)
    assert done == ["libraries", [(CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"})]]
