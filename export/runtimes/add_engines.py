"""Adds compiled engines to a bundle, takes out what a box does not need; the record is renewed last and atomically."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from bandloom.command_line.console import logger
from bandloom.errors import BundleError
from bandloom.export.bundle.bundle import Bundle, read_bundle, seal
from bandloom.export.bundle.record import BundleRecord, EngineFile
from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.runtimes.engine_builder import BuildOptions, build_engine, load_backend, trtexec_line
from bandloom.export.runtimes.onnx_runner import Unavailable
from bandloom.export.runtimes.verify import check_files, check_meaning
from bandloom.files.output import new_output, write_errors
from bandloom.files.output_lock import lock_of, locked


def add_engines(bundle: Bundle, backend: str, precisions: Sequence[str], options: BuildOptions) -> list[EngineFile]:
    """Build an engine for each precision and add it to the bundle.

    An engine built where there is no GPU was never run: it is recorded as such, and its golden chips are replayed when
    it is first loaded.

    Raises:
        BundleError: the bundle is not whole, lacks a precision, or the backend refuses the model.
        MissingExtraError: the backend is not installed.
    """
    with write_errors(bundle.path, lock_of(bundle.path)), locked(bundle.path):
        opened = read_bundle(bundle.path)  # another build may have added to it since it was read
        check_files(opened)
        return _add_engines(opened, backend, precisions, options)


def _add_engines(bundle: Bundle, backend: str, precisions: Sequence[str], options: BuildOptions) -> list[EngineFile]:
    check_meaning(bundle)
    if bundle.contract.extras:
        raise BundleError(
            f"the bundle {bundle.path} gives {' and '.join(bundle.contract.extras)} beside its classes, which engines"
            " are not built for; it runs on ONNX Runtime, on a GPU too, or export one model alone."
        )
    trt = load_backend(backend)
    built_for = options.compute_capabilities or _this_gpu(backend)
    made = []
    for precision in precisions or [model.precision for model in bundle.record.models]:
        plan = build_engine(trt, bundle.path / bundle.model(precision).file, options)
        engine = EngineFile(
            file=_name(backend, trt.__version__, precision, built_for),
            backend=backend,
            backend_version=trt.__version__,  # type: ignore[arg-type]
            precision=precision,
            compute_capabilities=built_for,
            batch=options.batches,  # type: ignore[arg-type]
            built_without_gpu=not has_gpu(),
            version_compatible=options.version_compatible,
            hardware_compatible=options.hardware_compatible,
        )
        made.append((engine, plan))
    replaced = {engine.file for engine, _ in made}
    kept = [engine for engine in bundle.record.engines if engine.file not in replaced]
    record = bundle.record.with_changes(engines=[*kept, *(engine for engine, _ in made)])
    _rewrite(bundle, record, lambda folder: [_write(folder / engine.file, plan) for engine, plan in made])
    return [engine for engine, _ in made]


def prune(bundle: Bundle, out: Path, target: str) -> Bundle:
    """Write the small bundle to ship to one kind of box: the fp32 model and the engines built for ``target``.

    Args:
        bundle: the whole one.
        out: the new bundle.
        target: a compute capability such as sm_90, or cpu.

    Raises:
        BundleError: the bundle is not whole, or holds no engine for ``target``.
    """
    check_files(bundle)
    engines = [engine for engine in bundle.record.engines if _fits(engine, target)]
    if target != "cpu" and not engines:
        have = sorted({name for engine in bundle.record.engines for name in engine.compute_capabilities})
        raise BundleError(
            f"the bundle {bundle.path} holds no engine for {target} (it has {', '.join(have) or 'none'}); build one"
            f" with: bandloom bundle build {bundle.path} --compute-capability {target}"
        )
    wanted = {engine.precision for engine in engines} | {"fp32"} | ({"int8"} if target == "cpu" else set())
    models = [model for model in bundle.record.models if model.precision in wanted]
    gone = {file.file for file in (*bundle.record.models, *bundle.record.engines)}
    gone -= {file.file for file in (*models, *engines)}
    with new_output(out, folder=True) as temporary:
        for name in bundle.record.files.keys() - gone:
            (temporary / name).parent.mkdir(exist_ok=True)
            shutil.copy2(bundle.path / name, temporary / name)
        seal(temporary, bundle.record.with_changes(engines=engines, models=models))
    return read_bundle(out)


def build_lines(bundle: Bundle, options: BuildOptions) -> list[str]:
    """Return the trtexec commands for the bundle's models."""
    side_m = bundle.contract.tile_px * MAP_PIXEL_M
    inputs = [(g.name, (len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m, 2)) for g in bundle.contract.groups]
    return [trtexec_line(model.file, inputs, options.batches) for model in bundle.record.models]


def has_gpu() -> bool:
    """Tell whether this machine shows an NVIDIA GPU."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()


def _this_gpu(backend: str) -> tuple[str, ...]:
    """Return the GPU that full TensorRT builds for: the one of this machine."""
    if backend != "tensorrt":
        return ()
    from bandloom.export.runtimes.choose import find_cuda

    try:
        return (find_cuda().compute_capability(),)
    except Unavailable as cause:
        raise BundleError(f"tensorrt builds an engine for the GPU of this machine, and {cause}.") from cause


def _fits(engine: EngineFile, target: str) -> bool:
    if target == "cpu":
        return False
    fits = engine.runs_on(target)
    if fits is None:
        logger.warning("%s is left out: it does not say for which GPU it was built; build it anew", engine.file)
    return bool(fits)


def _name(backend: str, version: str, precision: str, built_for: Sequence[str]) -> str:
    where = "-".join(built_for) or "any"
    return f"engines/{backend}-{version}-{where}-{precision}.engine"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def _rewrite(bundle: Bundle, record: BundleRecord, change: Callable[[Path], object]) -> None:
    """Apply ``change`` to a copy of the bundle and swap it in, so that a reader sees either whole."""
    with new_output(bundle.path.with_name(f".{bundle.path.name}.new"), folder=True, overwrite=True) as temporary:
        for name in bundle.record.files:
            (temporary / name).parent.mkdir(exist_ok=True)
            shutil.copy2(bundle.path / name, temporary / name)
        change(temporary)
        seal(temporary, record)
    made, old = bundle.path.with_name(f".{bundle.path.name}.new"), bundle.path.with_name(f".{bundle.path.name}.old")
    os.rename(bundle.path, old)
    os.rename(made, bundle.path)
    shutil.rmtree(old)
