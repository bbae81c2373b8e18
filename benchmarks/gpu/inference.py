"""Tiles a second and latency of every runtime and precision that a bundle has here, against torch, and a scene's time.

``python -m benchmarks.gpu.inference BUNDLE [--checkpoint RUN/checkpoint] [--scene SCENE]`` writes
``benchmarks/results/gpu_inference.json``; ``--smoke`` runs every part for a moment, on a CPU too, and writes nothing.
Build the engines first: ``bandloom bundle build BUNDLE --backend tensorrt``.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.export.bundle.bundle import Bundle, read_bundle
from bandloom.export.bundle.golden import GOLDEN, read_golden
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.predict.map_scene import PredictOptions, map_scene, scene_opener
from bandloom.export.runtimes.choose import RUNTIMES, try_runtime
from bandloom.export.runtimes.gpu_checks import gpu_checks
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.runtimes.verify import check_files, check_meaning
from bandloom.run_folder import environment

RESULT = Path(__file__).parents[1] / "results" / "gpu_inference.json"
BATCHES = (1, 8, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="the fine-tuned checkpoint, to run torch on the same tiles")
    parser.add_argument("--scene", help="a scene to map with every runtime")
    parser.add_argument("--smoke", action="store_true", help="run every part for a moment; write nothing")
    asked = parser.parse_args()
    seconds = 0.2 if asked.smoke else 5.0
    bundle = read_bundle(asked.bundle)
    check_files(bundle)
    check_meaning(bundle)
    record: dict[str, Any] = {
        "environment": environment(),
        "machine": [[check.name, check.verdict, check.said] for check in gpu_checks()],
        "bundle": bundle.record.name,
        "runtimes": [
            row
            for model in bundle.record.models
            for runtime in RUNTIMES
            if (row := measure(bundle, runtime, model.precision, seconds, asked.scene))
        ],
    }
    if asked.checkpoint:
        record["torch"] = torch_rates(asked.checkpoint, bundle, seconds)
    text = json.dumps(record, indent=1)
    print(text)
    if not asked.smoke:
        RESULT.write_text(text + "\n")


def measure(bundle: Bundle, runtime: str, precision: str, seconds: float, scene: str | None) -> dict[str, Any]:
    """Return the rates of one runtime, or why it does not run."""
    tried = try_runtime(bundle, runtime, precision)
    row: dict[str, Any] = {"runtime": runtime, "precision": precision, "verdict": tried.verdict}
    if tried.runner is None:
        return row
    for batch in BATCHES:
        row[f"tiles_per_s_{batch}"] = tiles_per_s(tried.runner, tiles(bundle, batch), seconds)
    row["latency_ms"] = latency_ms(partial(tried.runner.run, tiles(bundle, 1)), seconds)
    if scene is not None:
        row["scene"] = scene_split(bundle, tried.runner, scene)
    return row


def tiles(bundle: Bundle, batch: int) -> Groups:
    """Return the golden chips, repeated to a batch."""
    golden = read_golden(bundle.path / GOLDEN).groups(bundle.contract)
    return {g: np.concatenate([dn] * (1 + batch // len(dn)))[:batch] for g, dn in golden.items()}


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


def scene_split(bundle: Bundle, runner: Runner, scene: str) -> dict[str, Any]:
    """Map a scene and return where its time went."""
    options = PredictOptions(batch=32, readers=8)
    with tempfile.TemporaryDirectory() as folder:
        mapped = map_scene(bundle, runner, scene_opener(scene, options), Path(folder) / "map.tif", options)
    return {"seconds": mapped.seconds, "megapixels": mapped.pixels / 1e6, "split": mapped.split}


def torch_rates(checkpoint: Path, bundle: Bundle, seconds: float) -> list[dict[str, Any]]:
    """Return torch's rates on the same tiles, eager and compiled, in bf16 where there is a GPU."""
    import torch

    from bandloom.finetune.model.checkpoint import load_task_model

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_task_model(checkpoint).eval().to(device)
    rows = []
    for name, run in (("eager", model), ("compiled", torch.compile(model))):
        if name == "compiled" and device.type == "cpu":
            continue  # minutes to compile, and no rival worth them
        for batch in BATCHES:
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


if __name__ == "__main__":
    main()
