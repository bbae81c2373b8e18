"""Choice of a runtime: tried in order of speed, each failure with its reason, and golden chips decide.

TensorRT, TensorRT-RTX, ONNX Runtime on CUDA, OpenVINO, ONNX Runtime on the CPU. A runtime changes the speed; what its
numbers may differ by is the parity budget of the precision.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bandloom.command_line.console import logger
from bandloom.errors import BundleError, MissingExtraError
from bandloom.export.bundle.record import ModelFile
from bandloom.export.runtimes.cuda_memory import Cuda, CudaError
from bandloom.export.runtimes.engine_builder import load_backend
from bandloom.export.runtimes.engine_runner import EngineRunner
from bandloom.export.runtimes.onnx_runner import NotBrought, OnnxRunner, Runner, Unavailable
from bandloom.export.runtimes.openvino_runner import OpenVinoRunner
from bandloom.export.runtimes.replay import check_graph, replay

if TYPE_CHECKING:
    from bandloom.export.bundle.bundle import Bundle

RUNTIMES = ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "openvino", "onnxruntime-cpu")


class NoRuntimeError(BundleError):
    """A model that nothing on this machine can run, though nothing is wrong with it."""


@dataclass(frozen=True)
class Tried:
    """One runtime: the runner that reproduced the golden chips, or why there is none."""

    runtime: str
    runner: Runner | None
    verdict: str
    at_fault: BundleError | None = None  # the runtime loaded the model, and it answered wrongly
    brought: bool = True  # it is installed, and the bundle holds something for it


def load_runner(bundle: "Bundle", precision: str | None = None, *, runtime: str = "auto", threads: int = 0) -> Runner:
    """Return the first runtime that reproduces the golden chips; why one that was brought did not is logged.

    Args:
        bundle: its files were checked.
        precision: the model to run; None is the default one.
        runtime: ``auto``, or the only one of :data:`RUNTIMES` that will do.
        threads: threads of a runtime on the CPU, 0 for its own choice.

    Raises:
        BundleError: the runtime is not known, or none can run the model rightly.
    """
    tried = []
    for name in _wanted(runtime):
        attempt = try_runtime(bundle, name, precision, threads=threads)
        if attempt.runner is not None:
            for offer in tried:
                log = logger.info if offer.brought else logger.debug
                log("runs on %s; not on %s", attempt.runner.name, _reasons([offer]))
            return attempt.runner
        if attempt.at_fault is not None:
            logger.warning("%s", attempt.verdict)
        tried.append(attempt)
    if tried[-1].at_fault is not None:
        raise tried[-1].at_fault
    raise NoRuntimeError(f"no runtime here can run {bundle.model(precision).file}: {_reasons(tried)}.")


def survey(bundle: "Bundle", precision: str | None = None) -> list[Tried]:
    """Try every runtime and return what became of each."""
    return [try_runtime(bundle, name, precision) for name in RUNTIMES]


def try_runtime(bundle: "Bundle", runtime: str, precision: str | None = None, *, threads: int = 0) -> Tried:
    """Load one runtime and replay the golden chips on it; never fails."""
    model = bundle.model(precision)
    try:
        runner = _OPEN[runtime](bundle, model, threads)
        max_abs, agreement = replay(bundle, runner, model)
    except (Unavailable, MissingExtraError) as cause:
        return Tried(runtime, None, str(cause), brought=not isinstance(cause, NotBrought))
    except BundleError as cause:
        return Tried(runtime, None, str(cause), cause)
    return Tried(runtime, runner, f"golden chips reproduced, {max_abs:.2g} off, {agreement:.5f} of the classes agree")


def _wanted(runtime: str) -> Sequence[str]:
    if runtime == "auto":
        return RUNTIMES
    if runtime not in RUNTIMES:
        raise BundleError(f"runtime {runtime!r} is not known; use auto, {', '.join(RUNTIMES)}.")
    return (runtime,)


def _reasons(tried: Sequence[Tried]) -> str:
    return "; ".join(f"{offer.runtime} ({offer.verdict.rstrip('.')})" for offer in tried)


def _open_engine(backend: str, bundle: "Bundle", model: ModelFile, _: int) -> Runner:
    """Load the engine of the model's precision that was built for this GPU."""
    engines = [e for e in bundle.record.engines if e.backend == backend and e.precision == model.precision]
    if not engines:
        raise NotBrought(f"the bundle holds no {backend} engine of {model.precision}")
    trt, cuda = load_backend(backend), find_cuda()
    here = cuda.compute_capability()
    fitting = [e for e in engines if e.runs_on(here) is not False]  # an old record does not say: the backend will
    if not fitting:
        built_for = sorted({name for e in engines for name in e.compute_capabilities})
        raise Unavailable(f"this GPU is {here}, the engines are for {', '.join(built_for)}")
    try:
        return EngineRunner(trt, (bundle.path / fitting[-1].file).read_bytes(), fitting[-1], bundle.contract, cuda)
    except CudaError as cause:
        raise Unavailable(str(cause)) from cause


def find_cuda() -> Cuda:
    """Return the GPU.

    Raises:
        Unavailable: there is no driver, no GPU, or no cuda-python.
    """
    try:
        cuda = Cuda()
        if not cuda.device_count():
            raise Unavailable("the driver shows no GPU")
    except ImportError as cause:
        raise Unavailable(f"cuda-python is not installed ({cause}); pip install 'bandloom[tensorrt]'") from cause
    except CudaError as cause:
        raise Unavailable(f"no NVIDIA GPU can be used here ({cause})") from cause
    return cuda


def _open_onnx(provider: str, bundle: "Bundle", model: ModelFile, threads: int) -> Runner:
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise NotBrought(f"this onnxruntime has no {provider}; pip install onnxruntime-gpu in its place")
    if model.precision == "bf16" and provider == "CPUExecutionProvider":
        raise Unavailable("ONNX Runtime has no bf16 kernels for a CPU")
    runner = OnnxRunner(bundle.path / model.file, threads=threads, provider=provider)
    if not runner.name.endswith(provider):
        raise Unavailable(f"ONNX Runtime fell back from {provider}: its CUDA libraries cannot be loaded")
    check_graph(bundle, runner, model)
    return runner


def _open_openvino(bundle: "Bundle", model: ModelFile, threads: int) -> Runner:
    return OpenVinoRunner(bundle.path / model.file, model.precision, threads=threads)


_OPEN: dict[str, Callable[["Bundle", ModelFile, int], Runner]] = {
    "tensorrt": partial(_open_engine, "tensorrt"),
    "tensorrt-rtx": partial(_open_engine, "tensorrt-rtx"),
    "onnxruntime-cuda": partial(_open_onnx, "CUDAExecutionProvider"),
    "openvino": _open_openvino,
    "onnxruntime-cpu": partial(_open_onnx, "CPUExecutionProvider"),
}
