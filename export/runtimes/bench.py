"""``bandloom bundle bench``: megabytes, memory and milliseconds a tile on this box, by precision and runtime."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bandloom import __version__
from bandloom.command_line.child import child_environment
from bandloom.errors import BundleError
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.bundle.record import ModelFile
from bandloom.export.bundle.tiling import usual_batch
from bandloom.export.runtimes.choose import RUNTIMES
from bandloom.export.runtimes.verify import check_files, check_meaning

ON_CPU = ("openvino", "onnxruntime-cpu")  # threads matter to these alone
SLOWEST_S = 900  # a runtime that does not answer by then is given up
_ONE = "bandloom.export.runtimes.bench_one"


def bench(bundle: Bundle, threads: Sequence[int], seconds: float, batch: int | None = None) -> dict[str, Any]:
    """Return the box, the bundle, and a row for each runtime and precision that runs here and number of threads.

    Each row is measured in a process of its own, so that its memory is its own. A runtime that nobody installed, or
    that cannot run a precision, is named under ``not_run`` with the reason.

    Args:
        bundle: checked before the first measurement.
        threads: numbers of threads for runtimes on the CPU.
        seconds: how long each row is asked again and again; a call that takes longer is made once.
        batch: tiles a call beside the single one; None: as many as maps of this bundle give an engine at once.

    Raises:
        BundleError: the bundle is not whole, or a number is not positive.
    """
    if batch is None:
        batch = usual_batch(bundle.contract.tiling.tile_px)
    if not threads or min(*threads, batch, 1) < 1 or seconds <= 0:
        raise BundleError("threads, --batch and --seconds must be positive; such as --threads 1,2 --batch 8.")
    check_files(bundle)
    check_meaning(bundle)
    record: dict[str, Any] = {
        "bandloom": __version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "bundle": about(bundle),
        "rows": [],
        "not_run": {},
    }
    for model, runtime, count in _asked(bundle, threads):
        key = f"{runtime} {model.precision}"
        if key in record["not_run"]:
            continue
        told = _apart(bundle, runtime, model.precision, count, seconds, batch)
        if "runner" not in told:
            record["not_run"][key] = told["verdict"]
            continue
        row = {"runtime": runtime, "precision": model.precision, "threads": count if runtime in ON_CPU else None}
        record["rows"].append(row | {"file_mb": _file_mb(bundle, runtime, model)} | told)
    return record


def machine() -> dict[str, Any]:
    """Return what the box is: processor, cores, memory, operating system, and the GPU where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told: dict[str, Any] = {"processor": processor(), "cores": cores, "system": platform.platform()}
    if (meminfo := Path("/proc/meminfo")).exists():
        told["memory_gb"] = round(int(meminfo.read_text().split()[1]) * 1024 / 1e9, 1)
    if (model := Path("/proc/device-tree/model")).exists():  # a Jetson says here what it is
        told["board"] = model.read_text().strip("\0\n")
    return told


def about(bundle: Bundle) -> dict[str, Any]:
    """Return what of a bundle decides its speed."""
    tiling = bundle.contract.tiling
    return {
        "name": bundle.record.name,
        "task": bundle.contract.task,
        "tile_px": tiling.tile_px,
        "stride_px": tiling.stride_px,
        "classes": len(bundle.contract.get_label_set()),
        "files_mb": round(sum((bundle.path / name).stat().st_size for name in bundle.record.files) / 1e6, 2),
    }


def _asked(bundle: Bundle, threads: Sequence[int]) -> Iterator[tuple[ModelFile, str, int]]:
    for model in bundle.record.models:
        for runtime in RUNTIMES:
            for count in threads if runtime in ON_CPU else threads[:1]:
                yield model, runtime, count


def _apart(bundle: Bundle, runtime: str, precision: str, threads: int, seconds: float, batch: int) -> dict[str, Any]:
    words = [str(bundle.path), runtime, precision, str(threads), str(seconds), str(batch)]
    with tempfile.TemporaryDirectory() as folder:
        return _measured([str(Path(folder) / "row.json"), *words], threads)


def _measured(words: Sequence[str], threads: int) -> dict[str, Any]:
    environment = child_environment() | {"OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", _ONE, *words], capture_output=True, text=True, env=environment, timeout=SLOWEST_S
        )
    except subprocess.TimeoutExpired:
        return {"verdict": f"no answer within {SLOWEST_S} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return {"verdict": f"the process ended with {done.returncode}: {last[:300]}"}
    return json.loads(Path(words[0]).read_text())


def _file_mb(bundle: Bundle, runtime: str, model: ModelFile) -> float:
    """Return the size of what the runtime loads: the model, or the engine that was built of it."""
    engines = [e for e in bundle.record.engines if e.backend == runtime and e.precision == model.precision]
    return round((bundle.path / (engines[-1].file if engines else model.file)).stat().st_size / 1e6, 2)


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
