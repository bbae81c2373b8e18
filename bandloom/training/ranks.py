"""Distributed ranks, from the environment: srun, torchrun and DeepSpeed's launcher all set the same five names."""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from bandloom.errors import ConfigError
from bandloom.run_state.pulse import StopRequested

T = TypeVar("T")

_HOST_GROUPS: list[Any] = []  # gloo's group beside NCCL's, while there is one
_LEFT: list[Any] = []  # groups that were left, kept until the process ends


@dataclass(frozen=True)
class Ranks:
    """Which of the run's processes this one is, and the device it computes on."""

    rank: int
    local_rank: int
    world: int
    device: torch.device

    @classmethod
    def from_environment(cls) -> "Ranks":
        """Read RANK, LOCAL_RANK and WORLD_SIZE; none of them set means one process.

        Raises:
            ConfigError: some of the names are set and others not, the values do not fit, or none is set in one of
                several processes that a launcher started.
        """
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        given = [name for name in names if name in os.environ]
        if {"RANK", "WORLD_SIZE"} & set(given) and len(given) < len(names):
            missing = ", ".join(name for name in names if name not in given)
            has = "WORLD_SIZE" if "WORLD_SIZE" in given else "RANK"
            raise ConfigError(f"{has} is set but {missing} is not; the launcher must set all of {', '.join(names)}.")
        if not {"RANK", "WORLD_SIZE"} & set(given):  # MASTER_ADDR alone, as batch scripts export it, names no rank
            _refuse_unnamed_tasks()
        rank, local, world = _number("RANK", 0), _number("LOCAL_RANK", 0), _number("WORLD_SIZE", 1)
        if not 0 <= rank < world:
            raise ConfigError(f"RANK {rank} does not lie in WORLD_SIZE {world}; check the launcher.")
        if torch.cuda.is_available():
            # srun with --gpus-per-task shows each task one card; torchrun shows all of them
            device = torch.device("cuda", local % torch.cuda.device_count())
            torch.cuda.set_device(device)
        else:
            device = torch.device("cpu")
        return cls(rank, local, world, device)

    def start(self, timeout_s: float = 600.0, *, alone: bool = False) -> None:
        """Join the other processes: NCCL on CUDA, gloo elsewhere.

        Args:
            timeout_s: how long a process waits for the others.
            alone: make a group of one process too; else there is nothing to do for one.
        """
        if dist.is_initialized() or (self.world == 1 and not alone):
            return
        on_card = self.device.type == "cuda"
        given: dict[str, Any] = {"timeout": timedelta(seconds=timeout_s)}
        if self.world == 1:
            given |= {"store": dist.HashStore(), "rank": 0, "world_size": 1}
        if on_card:
            given["device_id"] = self.device
        dist.init_process_group("nccl" if on_card else "gloo", **given)
        if on_card and self.world > 1:  # numbers and texts of the host need not wait for the card
            _HOST_GROUPS.append(dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s)))

    def stop(self) -> None:
        """Leave the group."""
        leave_group()

    def totals(self, values: Sequence[float]) -> list[float]:
        """Return the sums of some numbers over all ranks, in float64 and in one exchange."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, group=_host_group())
        return tensor.tolist()

    def total(self, value: float) -> float:
        """Return the sum of a number over all ranks, in float64."""
        return self.totals([value])[0]

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is up on any rank; all ranks get the same answer."""
        return self.total(float(flag)) > 0

    def all(self, flag: bool) -> bool:
        """Tell whether the flag is up on every rank; all ranks get the same answer."""
        return not self.any(not flag)

    def barrier(self) -> None:
        """Wait for the other ranks."""
        if self.world > 1:
            self.total(0.0)

    def broadcast_text(self, text: str) -> str:
        """Return rank 0's text on every rank."""
        if self.world == 1:
            return text
        box = [text]
        dist.broadcast_object_list(box, src=0, group=_host_group())
        return box[0]

    def gather_texts(self, text: str) -> list[str]:
        """Return every rank's text on every rank, in the order of the ranks."""
        if self.world == 1:
            return [text]
        texts: list[Any] = [None] * self.world
        dist.all_gather_object(texts, text, group=_host_group())
        return texts

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        """Return every rank's rows ``(N, D)`` on every rank, in the order of the ranks; a rank may have none."""
        if self.world == 1:
            return rows
        own = np.zeros((2, self.world))
        own[:, self.rank] = rows.shape if len(rows) else (0, 0)
        counts, widths = np.array(self.totals(own.ravel().tolist())).reshape(own.shape).astype(int)
        sent = torch.zeros(counts.max(), widths.max(), dtype=torch.from_numpy(rows).dtype)
        sent[: len(rows)] = torch.from_numpy(rows).reshape(len(rows), -1) if len(rows) else sent[:0]
        received = [torch.empty_like(sent) for _ in range(self.world)]
        dist.all_gather(received, sent, group=_host_group())
        return np.concatenate([part[:count].numpy() for part, count in zip(received, counts, strict=True)])

    def together(self, work: Callable[[], T]) -> T:
        """Return what each rank's own work returns; all ranks call it before they exchange what came out.

        Raises:
            StopRequested: on all ranks, where any was asked to stop meanwhile.
        """
        result: list[T] = []
        with contextlib.suppress(StopRequested):
            result.append(work())
        if self.any(not result):
            raise StopRequested
        return result[0]


def _host_group() -> Any:
    """Return the group that exchanges what lies on the host; None is the default one, gloo's where there is no card."""
    return _HOST_GROUPS[-1] if _HOST_GROUPS else None


def leave_group() -> None:
    """Leave the process group, if there is one, so that the process can end.

    A thread of gloo's frees the last exchange and needs the interpreter's lock for it. Whoever drops the group (DDP's
    reducer, say) holds that lock and waits for the thread; and in an interpreter that is ending the thread is cut off,
    which aborts the process. So the group is kept, and the thread gets its time.
    """
    if dist.is_initialized():
        _LEFT.extend([dist.group.WORLD, *_HOST_GROUPS])
        _HOST_GROUPS.clear()
        dist.destroy_process_group()
        time.sleep(0.5)


_TASKS = {  # launchers that start several processes: where they say how many, and which one this is
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    "mpirun (Open MPI)": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "mpirun (MPICH)": ("PMI_SIZE", "PMI_RANK"),
}


def _refuse_unnamed_tasks() -> None:
    """Refuse to train beside copies of this process that know nothing of each other."""
    for launcher, (size, rank) in _TASKS.items():
        if os.environ.get(size, "1") not in ("", "1"):
            raise ConfigError(
                f"this is process {os.environ.get(rank, '?')} of {os.environ[size]} that {launcher} started, and RANK"
                " and WORLD_SIZE are not set: each would train by itself in the same run folder; start the"
                " run with `bandloom slurm submit`, with torchrun, or as one process."
            )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name} is {text!r}; it must be a whole number, check the launcher.") from None
