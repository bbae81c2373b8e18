"""Call ``correct``: is what a card computes what the CPU computes? Ceilings, 16-bit integers, every task's step."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.run_state.run_folder import environment
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.engine import EngineConfig
from bandloom.training.make_engine import make_engine
from bandloom.training.precision import Precision
from bandloom.training.ranks import Ranks
from benchmarks.gpu.journal import Row
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.timing import copy_gb_per_s, matmul_tflops, to_device_gb_per_s

ROOT = Path(__file__).resolve().parents[2]
HOST = torch.device("cpu")
MOST_OFF = {"fp32": 1e-4, "bf16": 3e-2}  # of a loss, against the CPU's in fp32
STEPS = 3


def rows(scale: Scale) -> list[Row]:
    """Return the rows of this call."""
    from tests.bandloom.training.cuttings import CASES

    cases = list(CASES)[:: max(1, len(CASES) // scale.parity_cases)] if scale.parity_cases else list(CASES)
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    return [
        Row("machine", 10, partial(machine, scale)),
        Row("uint16", 2, partial(uint16, scale.device)),
        *(Row(f"parity {case} {p}", 3, partial(parity, case, p, scale)) for case in cases for p in precisions),
        Row("tests", 180, partial(own_tests, scale)),
    ]


def machine(scale: Scale) -> dict[str, Any]:
    """Return what the machine is, and its ceilings."""
    device = scale.device
    ceilings = {"matmul_tflops": matmul_tflops(scale.matrix, device), "copy_gb_per_s": copy_gb_per_s(1024, device)}
    if scale.on_card:
        for pinned in (False, True):
            name = f"to_device_gb_per_s_{'pinned' if pinned else 'pageable'}"
            ceilings[name] = to_device_gb_per_s(8192, device, pinned=pinned)
    card = torch.cuda.get_device_name() if scale.on_card else "cpu"
    return {"card": card, "threads": torch.get_num_threads(), **ceilings, "environment": environment()}


def uint16(device: torch.device) -> dict[str, Any]:
    """Return which operations on uint16, as batches are copied, give the host's values."""
    host = torch.arange(65536, dtype=torch.int32).to(torch.uint16).reshape(4, 1, 128, 128)
    given = host.to(device)
    work = {
        "cat": lambda x: torch.cat([x, x]),
        "stack": lambda x: torch.stack([x, x]),
        "slice": lambda x: x[1:3, :, 2:5],
        "to float": lambda x: x.to(torch.float32),
        "compare": lambda x: x == 0,
        "clone": lambda x: x.clone(),
    }
    return {name: _same(lambda w=w: w(given), w(host)) for name, w in work.items()}


def _same(run: Any, expected: torch.Tensor) -> bool | str:
    try:
        return bool(torch.equal(run().cpu().to(torch.int64), expected.to(torch.int64)))
    except (RuntimeError, NotImplementedError) as cause:
        return str(cause).splitlines()[0]


def parity(case: str, precision: Precision, scale: Scale) -> dict[str, Any]:
    """Return the losses of three steps of a task on the card and on the CPU; without a card, on a pretended one."""
    expected = losses(case, HOST, "fp32")
    with _card(scale) as (device, which):
        given = losses(case, device, precision)
    off = most_off(given, expected)
    return {"on": which, "losses": given, "cpu": expected, "most_off": off, "within": off <= MOST_OFF[precision]}


def most_off(given: Sequence[float], expected: Sequence[float]) -> float:
    """Return the largest relative difference; nan where a value is no number, which lies within no limit."""
    one, other = np.array(given), np.array(expected)
    return float(np.max(np.abs(one - other) / np.maximum(np.abs(other), 1e-6)))


@contextlib.contextmanager
def _card(scale: Scale) -> Iterator[tuple[torch.device, str]]:
    """Yield the device under test: the card, a pretended one where there is none, or else the CPU."""
    from tests.card.pretend_card import CARD, TORCH, pretended_card

    if scale.on_card:
        yield scale.device, "card"
    elif torch.__version__.startswith(TORCH):
        with pretended_card():
            yield CARD, "pretended card"
    else:
        yield HOST, "cpu"


def losses(case: str, device: torch.device, precision: Precision) -> list[float]:
    """Return the losses of a few steps of a task."""
    from tests.bandloom.training.cuttings import CASES

    torch.manual_seed(0)
    model, loss, batch = CASES[case]()
    for owner in (loss, getattr(loss, "alignment", None), getattr(loss, "conversation", None)):
        held: Any = owner
        if held is not None and hasattr(held, "device"):
            held.device = device
    config = EngineConfig(accumulate=2, lr=1e-3, warmup_steps=1, precision=precision)
    engine = make_engine(model.train(), config, Ranks(0, 0, 1, device), 100, 2)
    given: Any = loss
    if getattr(given, "table", None) is not None:
        given.table = given.table.to(device)
    moved = _moved(batch, device)
    return [engine.train_step(moved.split(2), loss, step).read().loss for step in range(STEPS)]


def _moved(batch: DeviceBatch, device: torch.device) -> DeviceBatch:
    host = replace(
        batch,
        groups={gsd: group.numpy() for gsd, group in batch.groups.items()},
        label=None if batch.label is None else batch.label.numpy(),
        class_index=None if batch.class_index is None else batch.class_index.numpy(),
    )  # type: ignore[arg-type]
    return DeviceBatch.of(host, device)  # type: ignore[arg-type]


def own_tests(scale: Scale) -> dict[str, Any]:
    """Run tests of this project on this machine; returns their last lines."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *scale.tests]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    said = (done.stdout + done.stderr).splitlines()[-15:]
    if done.returncode:
        raise RuntimeError(f"pytest ended with {done.returncode}: " + "\n".join(said))
    return {"code": 0, "said": said}
