"""Call ``ranks``: DDP over NCCL and DeepSpeed with one process, and a state carried from one engine to the other.

Each engine runs in a process of its own, as a process group and DeepSpeed's state cannot be taken down again.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import torch

from bandloom.training.device_batch import DeviceBatch
from bandloom.training.ranks import Ranks
from benchmarks.gpu.journal import Row
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.steps import config_of, engine_of, stepper
from benchmarks.gpu.timing import seconds
from benchmarks.random_batch import random_batch

ENGINES: dict[str, dict[str, Any]] = {
    "torch": {},
    "ddp": {"ddp": "always"},
    "deepspeed 0": {"kind": "deepspeed", "zero_stage": 0},
    "deepspeed 1": {"kind": "deepspeed", "zero_stage": 1},
}


def rows(scale: Scale) -> list[Row]:
    """Return the rows of this call."""
    return [
        *(Row(f"one rank {name}", 40, partial(_apart, one_rank, name, scale)) for name in ENGINES),
        *(
            Row(f"resume torch to {name}", 40, partial(_resumed, name, scale))
            for name in ("deepspeed 0", "deepspeed 1")
        ),
    ]


def one_rank(name: str, scale: Scale) -> dict[str, Any]:
    """Return the losses of three steps of an engine, and its rate."""
    size, batch, _ = scale.batches[0]
    config = config_of(size, batch, 1, scale, **ENGINES[name])
    engine, loss = engine_of(config, scale.device)
    given = random_batch(batch, scale.side_px, scale.device)
    losses = [engine.train_step(given.split(1), loss, step).read().loss for step in range(3)]
    took_s = seconds(stepper(engine, loss, 1, iter(lambda: given, None)), scale.device, scale.steps)
    engine.ranks.stop()
    return {"losses": losses, "samples_per_s": batch / took_s}


def _resumed(name: str, scale: Scale) -> dict[str, Any]:
    saved = _apart(three_steps, "torch", scale)
    torch.save(saved["state"], scale.work / "state.pt")  # between processes of this benchmark alone
    given = _apart(fourth_step, name, scale)
    off = abs(given["fourth"] / saved["fourth"] - 1)
    return {"torch": saved["fourth"], name: given["fourth"], "off": off, "within": off <= 1e-2}


def three_steps(name: str, scale: Scale) -> dict[str, Any]:
    """Return the state after three steps of an engine, and the loss of its fourth."""
    engine, loss, given = _small(name, scale)
    for step in range(3):
        engine.train_step(given.split(1), loss, step).read()
    state = {key: value.clone() for key, value in engine.state().items()}
    return {"state": state, "fourth": engine.train_step(given.split(1), loss, 3).read().loss}


def fourth_step(name: str, scale: Scale) -> dict[str, Any]:
    """Return the loss of the fourth step of an engine that takes up what another left."""
    engine, loss, given = _small(name, scale)
    engine.load_state(torch.load(scale.work / "state.pt", weights_only=True))
    return {"fourth": engine.train_step(given.split(1), loss, 3).read().loss}


def _small(name: str, scale: Scale) -> tuple[Any, Any, DeviceBatch]:
    size = scale.batches[0][0]
    config = config_of(size, 8, 1, scale, warmup_steps=0, **ENGINES[name])
    engine, loss = engine_of(config, scale.device)
    return engine, loss, random_batch(8, scale.side_px, scale.device)


def _apart(work: Any, name: str, scale: Scale) -> dict[str, Any]:
    """Run in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_in_process, work, name, scale).result()


def _in_process(work: Any, name: str, scale: Scale) -> dict[str, Any]:
    Ranks.from_environment()  # sets the device
    return work(name, scale)
