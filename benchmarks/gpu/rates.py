"""Tiles a second and latencies of a runtime, and torch's on the same tiles."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.export.bundle.bundle import Bundle
from bandloom.export.bundle.golden import GOLDEN, read_golden
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.runtimes.bench_one import repeated
from bandloom.export.runtimes.onnx_runner import Runner


def rates(bundle: Bundle, runner: Runner, seconds: float, batches: Sequence[int]) -> dict[str, Any]:
    """Return tiles a second by batch, copies included, and the latency of a single tile."""
    by_batch = {f"tiles_per_s_{batch}": tiles_per_s(runner, tiles(bundle, batch), seconds) for batch in batches}
    return (
        {"runner": runner.name} | by_batch | {"latency_ms": latency_ms(partial(runner.run, tiles(bundle, 1)), seconds)}
    )


def tiles(bundle: Bundle, batch: int) -> Groups:
    """Return the golden chips, repeated to a batch."""
    golden = read_golden(bundle.path / GOLDEN).groups(bundle.contract)
    return repeated(golden, batch)


def tiles_per_s(runner: Runner, groups: Groups, seconds: float) -> float:
    """Return the rate of as many threads as the runner has lanes, copies and everything included."""
    batch = len(next(iter(groups.values())))

    def ask(until: float) -> int:
        done = 0
        while time.perf_counter() < until:
            runner.run(groups)
            done += batch
        return done

    with ThreadPoolExecutor(runner.lanes) as pool:
        for _ in range(3):  # first calls allocate, compile and capture
            list(pool.map(runner.run, [groups] * runner.lanes))
        began = time.perf_counter()
        done = sum(pool.map(ask, [began + seconds] * runner.lanes))
        return done / (time.perf_counter() - began)


def latency_ms(ask: Callable[[], object], seconds: float) -> dict[str, float]:
    """Return the median and the 99th percentile of single calls."""
    took: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(took) < 3:
        began = time.perf_counter()
        ask()
        took.append(1000 * (time.perf_counter() - began))
    return {"p50": float(np.percentile(took, 50)), "p99": float(np.percentile(took, 99)), "calls": len(took)}


def torch_rates(checkpoint: Path, bundle: Bundle, seconds: float, batches: Sequence[int]) -> list[dict[str, Any]]:
    """Return torch's rates on the same tiles, eager and compiled, in bf16 where there is a GPU."""
    import torch

    from bandloom.export.from_torch.tile_sizes import in_tiles
    from bandloom.finetune.model.checkpoint import load_task_model

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = in_tiles(load_task_model(checkpoint).eval().to(device), bundle.contract.tile_px)
    rows = []
    for name, run in (("eager", model), ("compiled", torch.compile(model))):
        if name == "compiled" and device.type == "cpu":
            continue  # minutes to compile, and no rival worth them
        for batch in batches:
            chips = {g: torch.from_numpy(dn.astype(np.int32)) for g, dn in tiles(bundle, batch).items()}

            def ask(chips: dict[int, Any] = chips, run: Any = run) -> np.ndarray:
                with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
                    return run({g: dn.to(device, non_blocking=True) for g, dn in chips.items()}).float().cpu().numpy()

            for _ in range(3):
                ask()
            spent = latency_ms(ask, seconds)
            rows.append(
                {"torch": name, "batch": batch, "tiles_per_s": 1000 * batch / spent["p50"], "latency_ms": spent}
            )
    return rows
