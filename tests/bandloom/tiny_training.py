"""A tiny model, an in-memory loader and processes to train them in: what the engine's and the trainer's tests share."""

import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # an optimizer's first step imports it, which takes seconds: once, in the server
from torch import Tensor, nn

from bandloom.draws.sample_draws import rng_of
from bandloom.run_state.run_folder import RunFolder
from bandloom.sensors import SENSORS
from bandloom.training.device_batch import DeviceBatch
from bandloom.training.engine import EngineConfig
from bandloom.training.loader_state import BEGINNING, LoaderState
from bandloom.training.make_engine import make_engine
from bandloom.training.ranks import Ranks
from bandloom.training.step_loss import PlainLoss
from bandloom.training.trainer import LoadedStep, Task, Trainer, TrainerConfig

SAMPLES = 40


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + nn.functional.gelu(self.linear(self.norm(x)))


class TinyNet(nn.Module):
    """Regresses a fixed function of the pixels; the loss is a mean over the samples. No size is a multiple of two."""

    def __init__(self, width: int = 13) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 16, width)
        self.blocks = nn.ModuleList(Residual(width) for _ in range(2))
        self.head = nn.Linear(width, 1)
        self.register_buffer("centre", torch.full((1,), 2000.0))

    centre: Tensor

    def forward(self, batch: DeviceBatch) -> Tensor:
        x = (batch.groups[60].float().flatten(1) - self.centre) / 1000
        target = x[:, :5].sum(1).sin()
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return (self.head(x)[:, 0].float() - target).square().mean()


def tiny_net() -> TinyNet:
    torch.manual_seed(3)
    return TinyNet()


def sample(index: int) -> np.ndarray:
    return rng_of(index, 7).integers(1000, 3000, (3, 4, 4)).astype(np.uint16)


def batch_of(indices: np.ndarray) -> DeviceBatch:
    group = torch.from_numpy(np.stack([sample(int(i)) for i in indices]))
    keys = tuple(f"s{int(i):03d}" for i in indices)
    return DeviceBatch(SENSORS["sentinel2-l1c"], {60: group}, keys, indices.astype(np.uint64), None, None)


def order(seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(SAMPLES)


def memory_loader(
    batch_size: int, ranks: Ranks, state: LoaderState = BEGINNING, poisoned: frozenset[str] = frozenset()
) -> Iterator[LoadedStep]:
    """Yield this rank's share of each global batch; the order depends on seed, epoch and position alone."""
    epoch, position = state.epoch, state.position
    share = batch_size // ranks.world
    while True:
        if position + batch_size > SAMPLES:
            epoch, position = epoch + 1, 0
        indices = order(0, epoch)[position : position + batch_size]
        position += batch_size
        batch = batch_of(indices[ranks.rank * share : (ranks.rank + 1) * share])
        if poisoned & set(batch.keys):
            group = batch.groups[60].float()
            group[[key in poisoned for key in batch.keys]] = torch.nan
            batch.groups[60] = group
        yield LoadedStep(batch, LoaderState(epoch, position))


def _mean(module: nn.Module, batch: DeviceBatch) -> Tensor:
    return module(batch)


loss_of = PlainLoss(_mean)


# ---- what a rank can be told to do; each returns what torch.save takes


def follow(
    engine: dict[str, Any], steps: int = 20, batch_size: int = 8, optimizer: str = "adamw", save_at: int | None = None
) -> dict[str, Any]:
    """Take ``steps`` steps and return losses, gradient norms and the last weights."""
    if optimizer == "sgd":
        from unittest.mock import patch

        def sgd(groups: list[dict[str, Any]], config: EngineConfig) -> torch.optim.Optimizer:
            return torch.optim.SGD(groups, lr=config.lr)

        with (
            patch("bandloom.training.deepspeed_engine.make_optimizer", sgd),
            patch("bandloom.training.torch_engine.make_optimizer", sgd),
        ):
            return follow(engine, steps, batch_size, save_at=save_at)
    config = EngineConfig(**engine)
    ranks = Ranks.from_environment()
    ranks.start(60)
    try:
        engine_ = make_engine(tiny_net(), config, ranks, steps)
        losses, norms, states = [], [], {}
        loader = memory_loader(batch_size, ranks)
        for step in range(steps):
            micro = next(loader).batch.split(config.accumulate)
            report = engine_.train_step(micro, loss_of, step)
            losses.append(report.loss)
            norms.append(report.grad_norm)
            if step + 1 == save_at:
                states = engine_.state()
        weights = {k: v.detach().clone() for k, v in engine_.whole_model().state_dict().items()}
        return {"losses": losses, "norms": norms, "weights": weights, "state": states}
    finally:
        ranks.stop()


def follow_greedily(engine: dict[str, Any]) -> None:
    """Take one step and leave, in a process whose threads hardly ever hand the interpreter's lock over."""
    sys.setswitchinterval(1000.0)
    follow(engine, steps=1)


def follow_from(engine: dict[str, Any], state: str, first: int, steps: int, batch_size: int = 8) -> dict[str, Any]:
    """Load a whole state and take the steps from ``first`` on; returns losses, and the state as loaded."""
    config = EngineConfig(**engine)
    ranks = Ranks.from_environment()
    ranks.start(60)
    try:
        torch.manual_seed(99)
        engine_ = make_engine(TinyNet(), config, ranks, steps)
        engine_.load_state(torch.load(state))
        loaded = engine_.state()
        loader = memory_loader(batch_size, ranks)
        losses = []
        for step in range(steps):
            micro = next(loader).batch.split(config.accumulate)
            if step >= first:
                losses.append(engine_.train_step(micro, loss_of, step).loss)
        return {"losses": losses, "state": loaded}
    finally:
        ranks.stop()


def train(
    run: str,
    config: dict[str, Any],
    poisoned: tuple[str, ...] = (),
    step_s: float = 0.0,
    die_at: int | None = None,
    slow_save_s: float = 0.0,
    log_to: str | None = None,
    scores: dict[str, float] | None = None,
    profile: bool = False,
) -> dict[str, Any]:
    """Run the trainer; losses and keys of each step go to steps-RANK.jsonl beside the run as they happen."""
    ranks = Ranks.from_environment()
    ranks.start(60)
    folder = RunFolder(Path(run))
    settings = TrainerConfig(**config)
    place = Path(log_to) if log_to else Path(run).parent
    place.mkdir(parents=True, exist_ok=True)
    log = (place / f"steps-{ranks.rank}.jsonl").open("a")
    try:
        if ranks.rank == 0:
            folder.start(settings)
        ranks.barrier()
        engine = make_engine(tiny_net(), settings.engine, ranks, settings.steps)
        holder: dict[str, Any] = {}

        def logged(state: LoaderState) -> Iterator[LoadedStep]:
            for loaded in memory_loader(settings.batch_size, ranks, state, frozenset(poisoned)):
                holder["keys"] = loaded.batch.keys
                time.sleep(step_s)
                yield loaded

        def note(step: int) -> float | None:
            if step:
                log.write(json.dumps({"step": step, "keys": holder["keys"], "loss": holder["loss"]}) + "\n")
                log.flush()
            if die_at == step and ranks.rank == ranks.world - 1:
                os.kill(os.getpid(), 9)
            return (scores or {}).get(str(step))

        step_of = engine.train_step

        def remember(*args: Any, **rest: Any) -> Any:
            report = step_of(*args, **rest)
            holder["loss"] = report.loss
            return report

        engine.train_step = remember  # type: ignore[method-assign]
        task = Task(loss_of, logged, [(1, note)], look_first="0" in (scores or {}))
        trainer = Trainer(folder, settings, engine, task, profile=profile)
        if slow_save_s:
            write_own = trainer.snapshots._write_own

            def slowly(*args: Any) -> Any:
                result = write_own(*args)
                time.sleep(slow_save_s)
                return result

            trainer.snapshots._write_own = slowly  # type: ignore[method-assign]
        code = trainer.train()
        kept = trainer.back_to_best() if code == 0 else None
        if code == 0:
            code = trainer.finish()
        weights = {k: v.detach().clone() for k, v in engine.whole_model().state_dict().items()}
        return {"code": code, "step": trainer.step, "weights": weights, "kept": kept}
    finally:
        log.close()
        folder.close()
        ranks.stop()


# ---- starting ranks: forked from a server that has imported torch once, or each would take seconds to start


_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["tests.bandloom.tiny_training", "tests.pretrain.pretraining_process", "tests.finetune.finetune_process"]
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ranked:
    """Processes that run one of the functions above, or ``module:function``, each as a rank."""

    def __init__(self, function: str, world: int, folder: Path, **arguments: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.results = [folder / f"result-{rank}.pt" for rank in range(world)]
        self.log = folder / "log.txt"
        for result in self.results:
            result.unlink(missing_ok=True)
        port = str(free_port())
        self.processes = []
        for rank, result in enumerate(self.results):
            ranked = (
                {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(world),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": port,
                }
                if world > 1
                else {}
            )
            given = (function, arguments, ranked, str(result), str(self.log))
            self.processes.append(_SERVER.Process(target=be_a_rank, args=given))
            self.processes[-1].start()

    def wait(self, timeout_s: float = 240.0) -> list[int | None]:
        """Return the exit codes; None for a rank that did not end in time."""
        until = time.monotonic() + timeout_s
        for process in self.processes:
            process.join(max(0.1, until - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        self.kill()
        return codes

    def wait_until(self, reached: Callable[[], bool], timeout_s: float = 240.0) -> None:
        """Wait until something has happened; a rank that died before it did is an error at once."""
        until = time.monotonic() + timeout_s
        while not reached():
            dead = any(process.exitcode is not None for process in self.processes)
            if (dead and not reached()) or time.monotonic() > until:
                self.kill()
                raise AssertionError(f"it did not come to that:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill -9 every rank that still runs."""
        for process in self.processes:
            process.kill()
            process.join()

    def outcome(self, timeout_s: float = 240.0) -> list[Any]:
        """Return what the ranks returned."""
        codes = self.wait(timeout_s)
        if any(code != 0 for code in codes):
            raise AssertionError(f"exit codes {codes}:\n{self.log.read_text()[-4000:]}")
        return [torch.load(result) for result in self.results]


def be_a_rank(function: str, arguments: dict[str, Any], ranked: dict[str, str], result: str, log: str) -> None:
    """Run one of the functions above in a process of its own."""
    from bandloom.command_line.console import start_logging

    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "BANDLOOM_ATTEMPT"):
        os.environ.pop(name, None)
    os.environ.update(ranked, OMP_NUM_THREADS="1")
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    torch.set_num_threads(1)
    start_logging()
    module, _, name = function.rpartition(":")
    torch.save(getattr(import_module(module or __name__), name)(**arguments), result)


def run_ranks(function: str, world: int, folder: Path, **arguments: Any) -> list[Any]:
    return Ranked(function, world, folder, **arguments).outcome()


def whole(results: list[Any]) -> dict[str, Tensor]:
    """Put the ranks' shares of a state together."""
    state: dict[str, Tensor] = {}
    for result in results:
        state |= result["state"]
    return state
