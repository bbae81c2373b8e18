"""What the loader gives alone against what a training step consumes: here, and by arithmetic on an H200."""

import tempfile
import time
from pathlib import Path

import torch

from bandloom.pretrain.config import PretrainConfig
from bandloom.pretrain.cost import cost_of, needed_samples_per_s
from bandloom.pretrain.loss import MaskedLoss
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.loader import Loader
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.synth.write import write_scenes
from bandloom.training.engine import EngineConfig
from bandloom.training.flops import PEAK_BF16_TFLOPS
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from benchmarks.harness import Figure
from benchmarks.random_batch import SENSOR, autoencoder, random_batch

BATCH, SECONDS = 8, 4.0
CEILING_TFLOPS, SHARE = 790.0, 0.45  # bf16 matrix products of an H200 as measured, and the share that is aimed at


def run() -> list[Figure]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        write_scenes(Path(place) / "synth", 4, 480, 0)
        build([str(Path(place) / "synth" / "scenes")], Path(place) / "set", BuildOptions(240))
        rate = _loader_rate(ShardSet(Path(place) / "set"))
    step_rate = _step_rate()
    figures = [
        Figure(
            "loader_wait",
            rate,
            "samples/s",
            "ViT-tiny's step on this machine",
            step_rate,
            ">= 5",
            "240 px samples with all bands, two decoding threads, page cache",
        )
    ]
    for size in ("S", "B", "L"):
        cost = cost_of(PretrainConfig(shards="-", size=size), SENSOR)  # type: ignore[arg-type]
        needed = needed_samples_per_s(cost, CEILING_TFLOPS * 1e12, SHARE)
        cores = needed / (rate / 2)
        figures.append(
            Figure(
                f"loader_wait_{size}",
                rate / 2,
                "samples/s a core",
                f"ViT-{size} on an H200, computed",
                needed,
                "",
                f"{SHARE:.0%} of {CEILING_TFLOPS:.0f} TFLOP/s (data sheet"
                f" {PEAK_BF16_TFLOPS['H200']:.0f}): {cores:.1f} cores a GPU",
            )
        )
    return figures


def _loader_rate(shards: ShardSet) -> float:
    batches = iter(Loader(shards, shards.indices(None), BATCH, workers=2))
    next(batches)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        count += len(next(batches).keys)
    return count / (time.perf_counter() - began)


def _step_rate() -> float:
    model = autoencoder(PretrainConfig(shards="-", size="tiny"), torch.device("cpu"))  # type: ignore[arg-type]
    engine = make_engine(model, EngineConfig(), Ranks(0, 0, 1, torch.device("cpu")), 100)
    batch = random_batch(BATCH, 240, torch.device("cpu"))
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        engine.train_step([batch], MaskedLoss(model, [SENSOR]), 0)
        best = min(best, time.perf_counter() - began)
    return BATCH / best
