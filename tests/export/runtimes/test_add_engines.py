"""Real engines by TensorRT-RTX, which needs no GPU to build, where it is installed; everything around them always."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bandloom.errors import BundleError
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.record import EngineFile
from bandloom.export.from_torch.export_run import export_run
from bandloom.export.from_torch.options import ExportOptions
from bandloom.export.runtimes.add_engines import add_engines, build_lines, has_gpu
from bandloom.export.runtimes.cuda_memory import Cuda
from bandloom.export.runtimes.engine_builder import API_NAMES, RTX_NAMES, BuildOptions, build_engine, load_backend
from bandloom.export.runtimes.engine_runner import EngineRunner
from bandloom.export.runtimes.onnx_runner import Unavailable
from bandloom.export.runtimes.verify import check_files
from bandloom.files.output_lock import lock_of, locked
from tests.export.fake_gpu import FakeCudart
from tests.export.from_torch.test_export_run import task_model, write_run
from tests.export.predict.test_map_scene import run
from tests.export.tiny_model import LABELS, tiny_contract, write_tiny_bundle, write_tiny_model


def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="pip install 'bandloom[tensorrt-rtx]'", exc_type=ImportError)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, exported_run):
    rtx()
    _, made = exported_run
    return read_bundle(shutil.copytree(made.path, tmp_path_factory.mktemp("engines") / "bundle"))


def test_real_engines_are_built_without_a_gpu_and_pruned_for_a_box(bundle, tmp_path, capsys):
    options = ("--backend", "tensorrt-rtx", "--compute-capability", "sm_86,sm_89", "--batches", "1,4,16")
    assert run("bundle", "build", bundle.path, *options) == 0
    said = capsys.readouterr().out
    assert "trtexec --onnx=model.onnx --stronglyTyped --minShapes=g10:1x4x108x108x2," in said
    built = read_bundle(bundle.path)
    assert [engine.precision for engine in built.record.engines] == ["fp32", "fp16"]
    assert built.record.engines[0].compute_capabilities == ("sm_86", "sm_89")
    assert run("bundle", "verify", bundle.path) == 0
    assert run("bundle", "inspect", bundle.path) == 0
    assert "tensorrt-rtx" in capsys.readouterr().out
    assert run("bundle", "prune", bundle.path, "--for", "sm_89", "--out", tmp_path / "small") == 0
    assert run("bundle", "verify", tmp_path / "small") == 0
    assert run("bundle", "prune", bundle.path, "--for", "cpu", "--out", tmp_path / "cpu") == 0
    assert len(read_bundle(tmp_path / "cpu").record.models) == 1
    assert run("bundle", "prune", bundle.path, "--for", "sm_75", "--out", tmp_path / "none") == 2
    assert "holds no engine for sm_75 (it has sm_86, sm_89)" in capsys.readouterr().err


def test_an_engine_takes_seconds_to_build_and_without_a_gpu_is_refused_in_words(tmp_path):
    trt = rtx()
    contract = tiny_contract()
    write_tiny_model(tmp_path / "model.onnx", contract)
    plan = build_engine(trt, tmp_path / "model.onnx", BuildOptions(compute_capabilities=("sm_89",), batches=(1, 4, 8)))
    assert len(plan) > 10_000
    record = EngineFile(
        file="engines/e.engine",
        backend="tensorrt-rtx",
        backend_version=trt.__version__,
        precision="fp32",
        compute_capabilities=("sm_89",),
        batch=(1, 4, 8),
        built_without_gpu=True,
    )
    if has_gpu():
        pytest.skip("this machine has a GPU")
    with pytest.raises(Unavailable, match="Cuda Runtime"):
        EngineRunner(trt, plan, record, contract, Cuda(FakeCudart()))


@pytest.mark.slow
def test_a_classifiers_engine_is_built_too(tmp_path):
    rtx()
    write_run(tmp_path / "run", task_model(task="classify"))
    export_run(tmp_path / "run", tmp_path / "bundle")
    assert (
        run("bundle", "build", tmp_path / "bundle", "--backend", "tensorrt-rtx", "--compute-capability", "sm_89") == 0
    )


def test_a_gpu_that_the_backend_does_not_offer_is_refused(tmp_path, capsys):
    rtx()
    bundle = write_tiny_bundle(tmp_path / "tiny")
    assert run("bundle", "build", bundle, "--backend", "tensorrt-rtx", "--compute-capability", "sm_90") == 2
    assert "not sm_90" in capsys.readouterr().err


def test_a_backend_that_is_not_installed_or_known_is_refused(tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    assert run("bundle", "build", bundle, "--batches", "8,1") == 2
    assert "smallest,usual,largest" in capsys.readouterr().err
    with pytest.raises(BundleError, match="'openvino' is not known"):
        load_backend("openvino")


def test_of_two_builds_into_one_bundle_the_second_is_refused_and_the_bundle_is_whole(tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "tiny")
    before = {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()}
    words = ("bundle", "build", bundle, "--backend", "tensorrt-rtx", "--compute-capability", "sm_89")
    with locked(bundle):
        assert run(*words) == 2
    said = capsys.readouterr().err
    assert "tiny is being written by process" in said
    assert said.count("\n") == 1
    assert {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()} == before
    assert not lock_of(bundle).exists()


def test_an_engine_that_another_build_added_meanwhile_stays(tmp_path):
    rtx()
    opened = read_bundle(write_tiny_bundle(tmp_path / "tiny"))  # both commands have read it before either adds
    for capability in ("sm_86", "sm_89"):
        options = BuildOptions(compute_capabilities=(capability,), batches=(1, 1, 1))
        add_engines(opened, "tensorrt-rtx", ["fp32"], options)
    again = read_bundle(opened.path)
    assert [engine.compute_capabilities for engine in again.record.engines] == [("sm_86",), ("sm_89",)]
    check_files(again)


def test_the_trtexec_line_names_every_input():
    bundle = read_bundle_of(tiny_contract())
    line = build_lines(bundle, BuildOptions())[0]
    for name in ("g10:8x4x48x48x2", "g20:8x6x24x24x2", "g60:8x3x8x8x2"):
        assert name in line


def engine(**changes):
    fields = {
        "file": "e.engine",
        "backend": "tensorrt",
        "backend_version": "11.4",
        "precision": "fp32",
        "compute_capabilities": (),
        "batch": (1, 4, 8),
        "built_without_gpu": False,
    }
    return EngineFile(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "answers"),
    [
        ({"compute_capabilities": ("sm_89",)}, {"sm_89": True, "sm_90": False}),
        ({"compute_capabilities": ("sm_80",), "hardware_compatible": True}, {"sm_75": False, "sm_90": True}),
        ({"backend": "tensorrt-rtx"}, {"sm_86": True, "sm_120": True}),
        ({}, {"sm_89": None}),
    ],
)
def test_an_engine_says_where_it_runs(changes, answers):
    assert {name: engine(**changes).runs_on(name) for name in answers} == answers


def test_an_engine_of_full_tensorrt_says_for_which_gpu_it_was_built(tmp_path, monkeypatch):
    """The bindings and the device are stand-ins: the real ones need a GPU to build at all."""
    from bandloom.export.runtimes import add_engines, choose

    path = write_tiny_bundle(tmp_path / "tiny")
    monkeypatch.setattr(add_engines, "load_backend", lambda _: SimpleNamespace(__version__="11.4"))
    monkeypatch.setattr(add_engines, "build_engine", lambda *_: b"plan")
    monkeypatch.setattr(choose, "find_cuda", lambda: Cuda(FakeCudart((9, 0))))
    (made,) = add_engines.add_engines(read_bundle(path), "tensorrt", ["fp32"], BuildOptions())
    assert made.compute_capabilities == ("sm_90",)
    assert made.file == "engines/tensorrt-11.4-sm_90-fp32.engine"
    assert add_engines.prune(read_bundle(path), tmp_path / "small", "sm_90").record.engines == (made,)
    with pytest.raises(BundleError, match=r"holds no engine for sm_89 \(it has sm_90\)"):
        add_engines.prune(read_bundle(path), tmp_path / "other", "sm_89")


def read_bundle_of(contract):
    import tempfile
    from pathlib import Path

    return read_bundle(write_tiny_bundle(Path(tempfile.mkdtemp()) / "tiny", contract))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wheel", "names"),
    [
        ("tensorrt-cu12-bindings==10.13.3.9", API_NAMES),
        ("tensorrt-cu13-bindings==11.4.0.106", API_NAMES),
        ("tensorrt-rtx-cu13-bindings==1.7.1.116", (*API_NAMES, *RTX_NAMES)),
    ],
)
def test_every_name_that_is_used_is_in_the_published_bindings(tmp_path, wheel, names):
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
    got = subprocess.run(
        [*command, "--python-version", "3.11", "-d", tmp_path, wheel], check=False, capture_output=True
    )
    if got.returncode:
        pytest.skip(f"{wheel} cannot be downloaded here")
    content = b""  # names are C strings; a linker may let one share the end of another
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                content += archive.read(name)
    missing = [name for name in names if name.encode() + b"\0" not in content]
    assert not missing
    assert b"execute_async_v4\0" not in content  # a name that is not there is not found


def test_every_name_that_is_asked_of_the_bindings_is_among_those_that_are_looked_up():
    from bandloom.export.runtimes import engine_builder, engine_lane, engine_runner, rtx_kernels

    owners = "trt|builder|network|parser|config|profile|context|handle|ILogger|BuilderFlag|_engine|_runtime|_cache"
    owners += "|HardwareCompatibilityLevel|NetworkDefinitionCreationFlag"
    used = set()
    for source in (engine_builder, engine_lane, engine_runner, rtx_kernels):
        text = Path(source.__file__).read_text()
        used |= set(re.findall(rf"\b(?:{owners})\.([A-Za-z]\w+)", text))
    assert len(used) > 25
    assert used - {"__name__", "__version__", "py", "handle", "ran", "batch"} <= {*API_NAMES, *RTX_NAMES}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segment", "classify", "words", "multilabel", "change"])
def test_every_kind_of_model_in_every_precision_becomes_a_real_engine(tmp_path, kind):
    """A classifier baked from words is one of them; the graphs hold no operator outside the stated list."""
    import onnx

    from bandloom.export.from_torch.to_onnx import check_ops

    rtx()
    write_run(tmp_path / "run", _model_of(kind))
    precisions = ["fp32", "fp16", "bf16", "int8"]
    made = export_run(tmp_path / "run", tmp_path / "bundle", ExportOptions(precisions=tuple(precisions)))
    for model in made.record.models:
        check_ops(onnx.load(made.path / model.file))
    options = ("--backend", "tensorrt-rtx", "--compute-capability", "sm_89", "--batches", "1,4,8")
    assert run("bundle", "build", made.path, *options) == 0
    engines = read_bundle(made.path).record.engines
    assert [engine.precision for engine in engines] == precisions
    assert all((made.path / engine.file).stat().st_size > 10_000 for engine in engines)
    assert run("bundle", "verify", made.path) == 0


@pytest.mark.slow
@pytest.mark.parametrize("head", ["fpn", "dpt"])
def test_heads_on_four_depths_become_engines_too(tmp_path, head):
    rtx()
    write_run(tmp_path / "run", task_model(head=head))
    made = export_run(tmp_path / "run", tmp_path / "bundle", ExportOptions(precisions=("fp16", "bf16", "int8")))
    assert run("bundle", "build", made.path, "--backend", "tensorrt-rtx", "--compute-capability", "sm_89") == 0


def _model_of(kind):
    """Return a small model of a task; of words, a classifier whose head is what bandloom zeroshot --bake writes."""
    from bandloom.finetune.data.change import CHANGE

    if kind == "change":
        return task_model(task=kind, labels=CHANGE)
    if kind != "words":
        return task_model(task=kind)
    return _baked()


def _baked():
    from bandloom.finetune.text.model import AlignModel
    from bandloom.finetune.text.zeroshot import Classes, baked

    plain = task_model(task="classify")
    words = AlignModel(plain.encoder, plain.sensor, plain.chip_px, text_dim=16)
    vectors = np.random.default_rng(0).normal(size=(len(LABELS), words.image_dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    prompts = {name: [f"a satellite photo of {name}"] for name in LABELS.names}
    return baked(SimpleNamespace(model=words, classes=lambda _: vectors), Classes(LABELS, prompts))  # type: ignore[arg-type]
