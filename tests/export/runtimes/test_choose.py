"""Which runtime answers, and why the others do not."""

import json

import numpy as np
import pytest

from bandloom.errors import BundleError
from bandloom.export.bundle.bundle import RECORD, read_bundle, seal
from bandloom.export.bundle.record import EngineFile
from bandloom.export.runtimes.choose import RUNTIMES, NoRuntimeError, load_runner, survey
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.export.runtimes.verify import verify
from tests.export.predict.test_map_scene import run
from tests.export.stack_file import write_stack
from tests.export.tiny_model import random_chips, write_tiny_bundle


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "tiny")


def with_engine(path, content, **changes):
    """Put a file into a bundle that claims to be an engine."""
    record = read_bundle(path).record
    fields = {
        "file": "engines/e.engine",
        "backend": "tensorrt-rtx",
        "backend_version": "1",
        "precision": "fp32",
        "compute_capabilities": ("sm_89",),
        "batch": (1, 8, 32),
        "built_without_gpu": True,
    }
    (path / "engines").mkdir()
    (path / "engines" / "e.engine").write_bytes(content)
    seal(path, record.with_changes(engines=[EngineFile(**(fields | changes))]))
    return read_bundle(path)


def test_every_runtime_answers_or_says_why_not(bundle):
    tried = survey(read_bundle(bundle))
    assert tuple(attempt.runtime for attempt in tried) == RUNTIMES
    assert tried[-1].runner is not None
    assert "no tensorrt engine of fp32" in tried[0].verdict
    for attempt in tried:
        assert attempt.verdict
        assert "\n" not in attempt.verdict


def test_inspect_and_predict_show_the_reasons(bundle, tmp_path, capsys):
    assert run("bundle", "inspect", bundle) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Runtimes here" in said
    assert "onnxruntime-cpu" in said
    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    assert run("--debug", "predict", bundle, scene, "--out", tmp_path / "map.tif") == 0
    assert "not on tensorrt (the bundle holds no tensorrt engine of fp32)" in capsys.readouterr().out


def test_only_a_runtime_that_was_brought_is_talked_about(bundle, tmp_path, capsys):
    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif") == 0
    assert "not on" not in capsys.readouterr().out
    with_engine(bundle, b"no engine at all" * 1000)
    assert run("predict", bundle, scene, "--out", tmp_path / "map2.tif") == 0
    said = capsys.readouterr().out
    assert "not on tensorrt-rtx (" in said
    assert "not on tensorrt (" not in said


def test_a_runtime_that_was_asked_for_is_the_only_one_tried(bundle, tmp_path, capsys):
    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif", "--runtime", "tensorrt") == 2
    said = capsys.readouterr().err
    assert "no runtime here can run model.onnx: tensorrt (the bundle holds no tensorrt engine of fp32)." in said
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif", "--runtime", "onnxruntime-cpu") == 0
    assert run("predict", bundle, scene, "--out", tmp_path / "map2.tif", "--runtime", "tflite") == 2
    assert "'tflite' is not known" in capsys.readouterr().err


def test_a_false_engine_is_a_reason_and_never_a_crash(bundle):
    """Where TensorRT-RTX is installed, its own deserialiser is what refuses; nowhere may it end the process."""
    found = with_engine(bundle, b"no engine at all" * 1000)
    tried = {offer.runtime: offer for offer in survey(found)}
    assert tried["tensorrt-rtx"].runner is None
    assert verify(found).name == OnnxRunner(bundle / "model.onnx").name or tried["openvino"].runner is not None


def test_an_engine_of_another_gpu_is_a_reason(bundle, monkeypatch):
    from bandloom.export.runtimes import choose as runtimes
    from bandloom.export.runtimes.cuda_memory import Cuda
    from tests.export.fake_gpu import FakeCudart

    found = with_engine(bundle, b"", backend="tensorrt")
    monkeypatch.setattr(runtimes, "find_cuda", lambda: Cuda(FakeCudart((9, 0))))
    monkeypatch.setattr(runtimes, "load_backend", lambda _: None)
    assert "this GPU is sm_90, the engines are for sm_89" in survey(found)[0].verdict


def test_a_model_that_answers_wrongly_is_the_bundles_fault_on_every_runtime(bundle):
    record = json.loads((bundle / RECORD).read_text())
    record["models"][0]["parity"]["allowed_max_abs"] = 0.0
    (bundle / RECORD).write_text(json.dumps(record))
    golden = np.load(bundle / "golden.npz")
    changed = {key: golden[key] for key in golden.files}
    changed["logits"] = changed["logits"] + np.float32(1e-3)
    np.savez_compressed(bundle / "golden.npz", **changed)
    seal(bundle, read_bundle(bundle).record)
    with pytest.raises(BundleError, match="does not reproduce"):
        verify(read_bundle(bundle))


def test_bf16_on_a_cpu_alone_is_no_fault_but_nothing_runs_it(bundle):
    record = read_bundle(bundle).record
    model = record.models[0].with_changes(precision="bf16")
    (bundle / RECORD).unlink()
    seal(bundle, record.with_changes(models=[model]))
    with pytest.raises(NoRuntimeError, match="no bf16 kernels for a CPU"):
        load_runner(read_bundle(bundle), runtime="onnxruntime-cpu")


def test_openvino_gives_the_same_logits(bundle):
    pytest.importorskip("openvino", reason="pip install 'bandloom[openvino]'")
    found = read_bundle(bundle)
    chips = random_chips(found.contract, 5, seed=3)
    runner = load_runner(found, runtime="openvino", threads=1)
    assert runner.name.startswith("openvino 20")
    np.testing.assert_allclose(runner.run(chips), OnnxRunner(bundle / "model.onnx").run(chips), atol=1e-4)
    assert load_runner(found).name == runner.name
