"""One row of ``bandloom bundle bench``: a runtime, a precision and a number of threads, in a process of its own."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.command_line.child import end_with_parent
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.golden import GOLDEN, read_golden
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.runtimes.choose import try_runtime
from bandloom.export.runtimes.onnx_runner import Runner

WARM_UP = 2  # first calls allocate, compile and capture


def measure(path: Path, runtime: str, precision: str, threads: int, seconds: float, batch: int) -> dict[str, Any]:
    """Return milliseconds a tile and this process's peak memory, or why the runtime does not run here."""
    bundle = read_bundle(path)
    before = peak_mb()
    began = time.perf_counter()
    tried = try_runtime(bundle, runtime, precision, threads=threads)
    if tried.runner is None:
        return {"verdict": tried.verdict}
    told: dict[str, Any] = {"runner": tried.runner.name, "verdict": "golden chips reproduced"}
    told["start_s"] = round(time.perf_counter() - began, 3)
    golden = read_golden(bundle.path / GOLDEN).groups(bundle.contract)
    for size in (1, batch) if batch > 1 else (1,):
        wall_ms, processor_ms, calls = _a_tile(tried.runner, repeated(golden, size), size, seconds)
        end = "" if size == 1 else f"_of_{size}"
        told[f"ms_a_tile{end}"] = round(wall_ms, 3)
        told[f"processor_ms_a_tile{end}"] = round(processor_ms, 3)
        told[f"calls{end}"] = calls
        told[f"rss_mb{end}"] = round(peak_mb(), 1)
    return told | {"rss_mb_before": round(before, 1)}


def repeated(golden: Groups, batch: int) -> Groups:
    """Return the golden chips repeated to a batch."""
    return {gsd_m: np.concatenate([dn] * (1 + batch // len(dn)))[:batch] for gsd_m, dn in golden.items()}


def peak_mb() -> float:
    """Return the most memory that this process has held, in megabytes of 1e6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss begins at what the process that started this one held
        held = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        if held:
            return int(held[0]) * 1024 / 1e6
    factor = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor / 1e6


def _a_tile(runner: Runner, groups: Groups, size: int, seconds: float) -> tuple[float, float, int]:
    """Return the median wall time and the mean processor time of a tile in milliseconds, and of how many calls.

    A call that takes longer than ``seconds`` is made twice, once to warm up.
    """
    began = time.perf_counter()
    for _ in range(WARM_UP):
        runner.run(groups)
        if time.perf_counter() - began > seconds:
            break
    took: list[float] = []
    until, processor = time.perf_counter() + seconds, time.process_time()
    while not took or time.perf_counter() < until:
        began = time.perf_counter()
        runner.run(groups)
        took.append(time.perf_counter() - began)
    processor = time.process_time() - processor
    return 1000 * float(np.median(took)) / size, 1000 * processor / len(took) / size, len(took)


if __name__ == "__main__":
    end_with_parent()
    out, bundle_path, runtime_name, precision_name, threads_text, seconds_text, batch_text = sys.argv[1:]
    figures = measure(
        Path(bundle_path), runtime_name, precision_name, int(threads_text), float(seconds_text), int(batch_text)
    )
    Path(out).write_text(json.dumps(figures))  # a runtime may print what it likes
