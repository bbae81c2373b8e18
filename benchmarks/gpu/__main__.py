"""Ceilings, step throughput and MFU of a card, from random native samples and from shards.

``python -m benchmarks.gpu`` on a machine with CUDA writes ``benchmarks/results/gpu.json``; ``--smoke`` runs every part,
tiny, on a CPU and writes nothing.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bandloom.pretrain.config import PretrainConfig
from bandloom.pretrain.cost import cost_of
from bandloom.pretrain.loss import MaskedLoss
from bandloom.run_folder import environment
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from benchmarks.random_batch import SENSOR, autoencoder, random_batch

RESULT = Path(__file__).parents[1] / "results" / "gpu.json"
BUDGET_S = 450.0


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    sizes: tuple[str, ...]
    batches: tuple[int, ...]
    side_px: int
    steps: int
    compiled: bool
    matrix: int


FULL = Scale(("S", "B", "L"), (64, 128, 256, 512), 120, 12, True, 8192)
SMOKE = Scale(("demo",), (2, 4), 60, 2, False, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run every part, tiny, on a CPU; write nothing")
    smoke = parser.parse_args().smoke
    if not smoke and not torch.cuda.is_available():
        raise SystemExit("no CUDA device is visible; run this where one is, or pass --smoke.")
    device = torch.device("cpu" if smoke else "cuda")
    record = measure(SMOKE if smoke else FULL, device)
    text = json.dumps(record, indent=1)
    print(text)
    if not smoke:
        RESULT.write_text(text + "\n")


def measure(scale: Scale, device: torch.device) -> dict[str, Any]:
    """Return all figures; parts that the time no longer allows are left out and named."""
    began = time.monotonic()
    record: dict[str, Any] = {
        "card": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "environment": environment(),
        "matmul_tflops": matmul_tflops(scale.matrix, device),
        "copy_gb_per_s": copy_gb_per_s(scale.matrix, device),
        "steps": [],
        "left_out": [],
    }
    record["from_shards"] = from_shards(scale, device)
    for size in scale.sizes:
        for compiled in (False, True) if scale.compiled else (False,):
            # the sweep is eager; compiled runs take the middle of it
            for batch in (scale.batches[len(scale.batches) // 2],) if compiled else scale.batches:
                if time.monotonic() - began > BUDGET_S:
                    record["left_out"].append([size, batch, compiled])
                    continue
                record["steps"].append(step(size, batch, scale, device, record["matmul_tflops"], compiled=compiled))
    return record


def matmul_tflops(side: int, device: torch.device) -> float:
    """Return the rate of a large bf16 matrix product: the ceiling of everything below."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b, device, 20) / 1e12


def copy_gb_per_s(side: int, device: torch.device) -> float:
    """Return the rate of a copy on the device, reading and writing counted."""
    a = torch.empty(4 * side, side, device=device)
    b = torch.empty_like(a)
    return 2 * a.nbytes / seconds(lambda: b.copy_(a), device, 20) / 1e9


def step(
    size: str, batch: int, scale: Scale, device: torch.device, ceiling_tflops: float, *, compiled: bool
) -> dict[str, Any]:
    """Return samples a second and MFU of one training step, with the losses of the first ones for the A/B."""
    config = PretrainConfig(shards="-", size=size, crop_px=scale.side_px)  # type: ignore[arg-type]
    row: dict[str, Any] = {"size": size, "batch": batch, "compiled": compiled}
    try:
        given = random_batch(batch, scale.side_px, device)
        losses, took_s = _train(config, given, scale.steps, device, compiled=compiled)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return row | {"out_of_memory": True}
    flops = cost_of(config, SENSOR).train_flops * batch / took_s
    memory = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None
    return row | {
        "samples_per_s": batch / took_s,
        "tflops": flops / 1e12,
        "share_of_matmul": flops / 1e12 / ceiling_tflops,
        "memory_gb": memory,
        "losses": losses,
    }


def _train(
    config: PretrainConfig, given: DeviceBatch, steps: int, device: torch.device, *, compiled: bool
) -> tuple[list[float], float]:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    model = autoencoder(config, device)
    engine = make_engine(model, EngineConfig(precision="bf16", compile=compiled), Ranks(0, 0, 1, device), 1000)
    loss = MaskedLoss(model, [SENSOR])
    losses: list[float] = []

    def one() -> None:
        losses.append(engine.train_step([given], loss, len(losses)).loss)

    return losses, seconds(one, device, steps)


def from_shards(scale: Scale, device: torch.device) -> dict[str, Any]:
    """Return what the loader alone gives, and what a run of the smallest size takes from it."""
    from bandloom.shards.build.build import build
    from bandloom.shards.build.plan import BuildOptions
    from bandloom.shards.read.loader import Loader
    from bandloom.shards.read.shard_set import ShardSet
    from bandloom.shards.synth.write import write_scenes

    batch = scale.batches[0]
    with tempfile.TemporaryDirectory() as place:
        write_scenes(Path(place) / "synth", 4, 480, 0)
        build([str(Path(place) / "synth" / "scenes")], Path(place) / "set", BuildOptions(240))
        shards = ShardSet(Path(place) / "set")
        config = PretrainConfig(shards="-", size=scale.sizes[0], crop_px=scale.side_px)  # type: ignore[arg-type]
        model = autoencoder(config, device)
        engine = make_engine(model, EngineConfig(precision="bf16"), Ranks(0, 0, 1, device), 1000)
        loss = MaskedLoss(model, list(shards.sensors.values()))
        loader = iter(Loader(shards, shards.indices(None), min(batch, len(shards)), crop_px=scale.side_px, workers=8))
        size = len(next(loader).keys)
        alone_s = seconds(lambda: next(loader), torch.device("cpu"), scale.steps)

        def fed() -> None:
            engine.train_step([DeviceBatch.of(next(loader), device)], loss, 0)

        return {
            "batch": size,
            "loader_samples_per_s": size / alone_s,
            "fed_samples_per_s": size / seconds(fed, device, scale.steps),
        }


def seconds(run: Callable[[], Any], device: torch.device, times: int) -> float:
    """Return the mean seconds of a call after two to warm up."""
    for _ in range(2):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / times


if __name__ == "__main__":
    main()
