"""``bandloom doctor --gpu``: checks from the driver to a bundle's engines on its golden chips, one line each."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from bandloom.errors import BandloomError
from bandloom.export.bundle.bundle import Bundle, read_bundle
from bandloom.export.runtimes.choose import RUNTIMES, find_cuda, try_runtime
from bandloom.export.runtimes.cuda_memory import Cuda
from bandloom.export.runtimes.engine_builder import BACKENDS, load_backend
from bandloom.export.runtimes.onnx_runner import Unavailable
from bandloom.export.runtimes.verify import check_files, check_meaning

COPIED_BYTES = 256_000_000
COPIES = 8
SLOWEST_GB_S = 2.0  # PCIe 3.0 x16 gives 12; pageable memory, or a card in the wrong slot, less than this
GPU_RUNTIMES = RUNTIMES[:3]


@dataclass(frozen=True)
class Check:
    """One thing that was tried; what a box may do without is absent, not failed."""

    name: str
    verdict: Literal["pass", "fail", "absent"]
    said: str


def gpu_checks(bundle_path: Path | None = None) -> Iterator[Check]:
    """Try everything in order and yield each verdict; what needs a GPU is left out where there is none.

    Args:
        bundle_path: a bundle whose engines are deserialised and asked for their golden chips.
    """
    driver = _try("CUDA driver", _driver)
    yield driver
    importable = [_try(f"{name} importable", partial(_importable, name), "absent") for name in GPU_RUNTIMES]
    yield from importable
    any_runtime = any(check.verdict == "pass" for check in importable)
    yield Check(
        "a runtime for the GPU",
        "pass" if any_runtime else "fail",
        "at least one" if any_runtime else "none of the above; pip install 'bandloom[tensorrt]'",
    )
    if driver.verdict == "pass":
        yield _try("pinned memory to the GPU", partial(_bandwidth, into=True))
        yield _try("the GPU to pinned memory", partial(_bandwidth, into=False))
    if bundle_path is not None:
        yield from _bundle_checks(bundle_path)


def _try(name: str, check: Callable[[], str], otherwise: Literal["fail", "absent"] = "fail") -> Check:
    try:
        return Check(name, "pass", check())
    except (Unavailable, BandloomError, ImportError, OSError) as cause:
        return Check(name, otherwise, str(cause).strip().splitlines()[0])


def _driver() -> str:
    cuda = find_cuda()
    return f"{cuda.device_count()} GPU, {cuda.compute_capability()}, driver for CUDA {cuda.driver_version()}"


def _importable(runtime: str) -> str:
    if runtime in BACKENDS:
        return str(load_backend(runtime).__version__)
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise Unavailable(f"onnxruntime {onnxruntime.__version__} is the build for CPUs")
    return onnxruntime.__version__


def _bandwidth(*, into: bool) -> str:
    cuda: Cuda = find_cuda()
    stream, pair = cuda.stream(), cuda.allocate(COPIED_BYTES)
    copy = cuda.copy_in if into else cuda.copy_out
    try:
        copy(pair, COPIED_BYTES, stream)
        cuda.wait(stream)
        began = time.perf_counter()
        for _ in range(COPIES):
            copy(pair, COPIED_BYTES, stream)
        cuda.wait(stream)
        rate = COPIES * COPIED_BYTES / (time.perf_counter() - began) / 1e9
    finally:
        cuda.free(pair)
        cuda.close_stream(stream)
    if rate < SLOWEST_GB_S:
        raise Unavailable(f"{rate:.1f} GB/s, expected at least {SLOWEST_GB_S:g}")
    return f"{rate:.1f} GB/s"


def _bundle_checks(path: Path) -> Iterator[Check]:
    try:
        bundle = read_bundle(path)
        check_files(bundle)
        check_meaning(bundle)
    except BandloomError as cause:
        yield Check("the bundle", "fail", str(cause))
        return
    yield Check("the bundle", "pass", f"{bundle.record.name}: {len(bundle.record.files)} files, whole")
    if not bundle.record.engines:
        yield Check("its engines", "fail", f"it has none; bandloom bundle build {path}")
    for backend, precision in sorted({(e.backend, e.precision) for e in bundle.record.engines}):
        yield _on_golden(bundle, backend, precision)
    for precision in (model.precision for model in bundle.record.models):
        check = _on_golden(bundle, "onnxruntime-cuda", precision)
        yield check if check.verdict == "pass" else Check(check.name, "absent", check.said)


def _on_golden(bundle: Bundle, runtime: str, precision: str) -> Check:
    tried = try_runtime(bundle, runtime, precision)
    return Check(f"golden, {runtime} {precision}", "pass" if tried.runner else "fail", tried.verdict)
