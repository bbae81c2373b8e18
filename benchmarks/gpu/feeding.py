"""Call ``feeding``: the real loader alone, its copies, and a step that it feeds; and the losses of compiled steps."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.pretrain.config import ObjectiveConfig
from bandloom.pretrain.loss import MaskedLoss
from bandloom.pretrain.masking import random_masking
from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.loader import Batch, Loader
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.synth.write import write_scenes
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.device_memory import page_locked
from bandloom.training.side_stream import SideStream
from benchmarks.gpu.journal import Row
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.steps import config_of, engine_of, stepper
from benchmarks.gpu.timing import seconds, wait
from benchmarks.random_batch import random_batch

SAMPLE_PX = 240


def rows(scale: Scale) -> list[Row]:
    """Return the rows of this call."""
    size = scale.batches[0][0]
    return [
        Row("shards", 60, lambda: {"samples": len(shards_of(scale))}),
        Row("loader alone", 20, partial(loader_alone, scale)),
        Row("draws", 5, partial(draws, scale)),
        Row(f"fed {size} pageable", 40, partial(fed, scale, pinned=False, beside=False)),
        Row(f"fed {size} pinned", 40, partial(fed, scale, pinned=True, beside=False)),
        Row(f"fed {size} on a side stream", 40, partial(fed, scale, pinned=True, beside=True)),
        Row(f"loss of compiled {scale.ab_size}", 150, partial(compiled_losses, scale)),
    ]


def shards_of(scale: Scale) -> ShardSet:
    """Return labelled shards of synthetic scenes, made at the first call."""
    place = scale.work / "shards"
    if not (place / "set" / "manifest.json").exists():
        synth = place / "synth"
        if not synth.exists():
            write_scenes(synth, scale.scenes, scale.scene_px, 0)
        options = BuildOptions(SAMPLE_PX, labels=str(synth / "labels"), label_set=str(synth / "label_set.yaml"))
        build([str(synth / "scenes")], place / "set", options)
    return ShardSet(place / "set")


def loader_of(scale: Scale, batch: int, *, pinned: bool) -> Iterator[Batch]:
    """Return the loader of a pretraining at this scale."""
    shards = shards_of(scale)
    allocate = page_locked(scale.device) if pinned else None
    loader = Loader(
        shards,
        shards.indices(None),
        batch,
        crop_px=scale.side_px,
        workers=scale.loader_workers,
        allocate=allocate,
    )
    return iter(loader)


def loader_alone(scale: Scale) -> dict[str, Any]:
    """Return what the loader gives while nothing else runs."""
    loader = loader_of(scale, scale.loader_batch, pinned=False)
    next(loader)
    began, count = time.perf_counter(), 0
    while count < scale.steps:
        next(loader)
        count += 1
    rate = count * scale.loader_batch / (time.perf_counter() - began)
    return {"batch": scale.loader_batch, "workers": scale.loader_workers, "samples_per_s": rate}


def draws(scale: Scale) -> dict[str, Any]:
    """Return the milliseconds that the host takes to draw the masks of a batch."""
    given = np.arange(scale.loader_batch, dtype=np.uint64)
    side = scale.side_px // 6
    measured = torch.ones(len(given), side**2, dtype=torch.bool)
    draw = partial(random_masking, given, measured, ObjectiveConfig(), (side, side))
    took = seconds(draw, torch.device("cpu"), 5)
    return {"masks_ms": 1000 * took, "batch": scale.loader_batch}


def fed(scale: Scale, *, pinned: bool, beside: bool) -> dict[str, Any]:
    """Return the rate of a step fed by the loader, beside the same step on a batch that lies on the card.

    Args:
        scale: of the call.
        pinned: the loader decodes into page-locked memory.
        beside: batches are copied on a stream of their own, as trainings do, not on the one that computes.
    """
    size, device, batch = scale.batches[0][0], scale.device, scale.loader_batch
    engine, loss = engine_of(config_of(size, batch, 1, scale), device)
    lying = random_batch(batch, scale.side_px, device)
    alone_s = seconds(stepper(engine, loss, 1, iter(lambda: lying, None)), device, scale.steps)
    loader = loader_of(scale, batch, pinned=pinned)
    moved = map(SideStream(device) if beside else partial(DeviceBatch.of, device=device), loader)
    fed_s = seconds(stepper(engine, loss, 1, moved), device, scale.steps)
    loaded = next(loader)
    wait(device)
    copy_s = seconds(lambda: DeviceBatch.of(loaded, device), device, 5)
    return {
        "batch": batch,
        "samples_per_s": batch / fed_s,
        "on_card_samples_per_s": batch / alone_s,
        "copy_ms": 1000 * copy_s,
        "batch_mb": sum(group.nbytes for group in loaded.groups.values()) / 1e6,
    }


def compiled_losses(scale: Scale) -> dict[str, Any]:
    """Train from the same weights on the same batches eagerly, compiled, and eagerly again; returns how losses part."""
    runs = {name: _losses(scale, compiled=name == "compiled") for name in ("eager", "compiled", "eager again")}
    reference = np.array(runs["eager"])
    off = {name: np.abs(np.array(losses) / reference - 1) for name, losses in runs.items()}
    every = max(1, scale.ab_steps // 20)
    return {
        "steps": scale.ab_steps,
        "losses": {name: losses[::every] for name, losses in runs.items()},
        "compiled_most_off": float(off["compiled"].max()),
        "compiled_off_at_end": float(off["compiled"][-10:].mean()),
        "eager_again_most_off": float(off["eager again"].max()),
    }


def _losses(scale: Scale, *, compiled: bool) -> list[float]:
    config = config_of(scale.ab_size, scale.ab_batch, 1, scale, compile=compiled, warmup_steps=scale.ab_steps // 4)
    engine, _ = engine_of(config, scale.device)
    shards = shards_of(scale)
    loss = MaskedLoss(engine.model, list(shards.sensors.values()))  # type: ignore[arg-type]
    loader = loader_of(scale, scale.ab_batch, pinned=True)
    return [
        engine.train_step(DeviceBatch.of(next(loader), scale.device).split(1), loss, step).read().loss
        for step in range(scale.ab_steps)
    ]


def shards_path(scale: Scale) -> Path:
    """Return the folder of :func:`shards_of`."""
    shards_of(scale)
    return scale.work / "shards" / "set"
