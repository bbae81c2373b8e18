"""Tiles a second and latency of every runtime and precision that a bundle has here, against torch, and a scene's time.

``python -m benchmarks.gpu.inference BUNDLE --out FOLDER [--checkpoint RUN/checkpoint] [--scene SCENE]`` writes
``FOLDER/rows.jsonl``, row by row, and goes on after a kill. ``--smoke`` runs every part for a moment, on a CPU too, of
a bundle with random weights where none is named. Build the engines first: ``bandloom bundle build BUNDLE``.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bandloom.export.bundle.bundle import Bundle, read_bundle
from bandloom.export.predict.map_scene import PredictOptions, map_scene, scene_opener
from bandloom.export.runtimes.choose import RUNTIMES, try_runtime
from bandloom.export.runtimes.gpu_checks import gpu_checks
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.runtimes.verify import check_files, check_meaning
from bandloom.run_state.run_folder import environment
from benchmarks.gpu.engines import bundle_of
from benchmarks.gpu.journal import Journal, Row, run_rows
from benchmarks.gpu.rates import rates, torch_rates
from benchmarks.gpu.scale import smoke

BATCHES = (1, 8, 32)
LIMIT_S = 590.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a bundle; returns 1 where a row failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.inference", description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, help="folder of rows.jsonl")
    parser.add_argument("--checkpoint", type=Path, help="the fine-tuned checkpoint, to run torch on the same tiles")
    parser.add_argument("--scene", help="a scene to map with every runtime")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds")
    parser.add_argument("--smoke", action="store_true", help="run every part for a moment")
    given = parser.parse_args(arguments)
    if given.bundle is None and not given.smoke:
        parser.error("name a bundle, or pass --smoke")
    with tempfile.TemporaryDirectory() as folder:
        scale = smoke(Path(folder))
        made = None if given.bundle else bundle_of(scale)
        checkpoint = given.checkpoint or (None if given.bundle else scale.work / "checkpoint")
        bundle = made or read_bundle(given.bundle)
        seconds, batches = (scale.engine_s, scale.engine_batches) if given.smoke else (5.0, BATCHES)
        journal = Journal(given.out or Path(folder) / "rows")
        rows = rows_of(bundle, checkpoint, given.scene, seconds, batches)
        left_out = run_rows(rows, journal, given.limit)
        failed = [name for name, record in journal.rows().items() if "failed" in record]
    print(f"failed: {failed}; no time was left for: {left_out}")
    return 1 if failed else 0


def rows_of(
    bundle: Bundle, checkpoint: Path | None, scene: str | None, seconds: float, batches: Sequence[int]
) -> list[Row]:
    """Return the rows of a bundle."""
    rows = [Row("machine", 5, partial(machine, bundle))]
    rows += [
        Row(
            f"{runtime} {model.precision}",
            6 * seconds,
            partial(measure, bundle, runtime, model.precision, seconds, batches, scene),
        )
        for model in bundle.record.models
        for runtime in RUNTIMES
    ]
    if checkpoint is not None:
        rows.append(Row("torch", 12 * seconds, lambda: {"rates": torch_rates(checkpoint, bundle, seconds, batches)}))
    return rows


def machine(bundle: Bundle) -> dict[str, Any]:
    """Return what the machine is; the bundle is checked first."""
    check_files(bundle)
    check_meaning(bundle)
    checks = [[check.name, check.verdict, check.said] for check in gpu_checks()]
    return {"bundle": bundle.record.name, "checks": checks, "environment": environment()}


def measure(
    bundle: Bundle, runtime: str, precision: str, seconds: float, batches: Sequence[int], scene: str | None
) -> dict[str, Any]:
    """Return the rates of one runtime, or why it does not run."""
    tried = try_runtime(bundle, runtime, precision)
    row: dict[str, Any] = {"verdict": tried.verdict}
    if tried.runner is None:
        return row
    row |= rates(bundle, tried.runner, seconds, batches)
    if scene is not None:
        row["scene"] = scene_split(bundle, tried.runner, scene)
    return row


def scene_split(bundle: Bundle, runner: Runner, scene: str) -> dict[str, Any]:
    """Map a scene and return where its time went."""
    options = PredictOptions(batch=32, readers=8)
    with tempfile.TemporaryDirectory() as folder:
        mapped = map_scene(bundle, runner, scene_opener(scene, options), Path(folder) / "map.tif", options)
    return {"seconds": mapped.seconds, "megapixels": mapped.pixels / 1e6, "split": mapped.split}


if __name__ == "__main__":
    sys.exit(main())
