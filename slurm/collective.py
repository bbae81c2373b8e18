"""A timed all-reduce over all ranks: checks the network between the nodes."""

import os
import sys
import time
from datetime import timedelta

from bandloom.errors import SlurmError

MEGABYTES = 256
ROUNDS = 5


def all_reduce(min_gb_s: float, *, megabytes: int | None = None, timeout_s: float = 120) -> float:
    """Reduce a buffer over all ranks and return the bus bandwidth in GB/s, as nccl-tests defines it.

    Args:
        min_gb_s: the least bandwidth.
        megabytes: buffer size; 256 on GPUs, 4 on CPUs.
        timeout_s: how long a rank waits for the others.

    Raises:
        SlurmError: the sum is wrong, or the bandwidth is below it.
    """
    import torch
    import torch.distributed as dist

    from bandloom.training.ranks import leave_group

    rank, world = _number("RANK", "SLURM_PROCID", 0), _number("WORLD_SIZE", "SLURM_NTASKS", 1)
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", _number("LOCAL_RANK", "SLURM_LOCALID", 0)) if on_gpu else torch.device("cpu")
    host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), os.environ.get("MASTER_PORT", "29511")
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=f"tcp://{host}:{port}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=timeout_s),
    )
    megabytes = megabytes or (MEGABYTES if on_gpu else 4)
    buffer = torch.ones(megabytes * 250_000, dtype=torch.float32, device=device)
    dist.all_reduce(buffer)  # the first one builds the rings
    right = bool((buffer == world).all())
    started = time.perf_counter()
    for _ in range(ROUNDS):
        dist.all_reduce(buffer)
    if on_gpu:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - started) / ROUNDS
    gb_s = megabytes / 1e3 / seconds * 2 * (world - 1) / world
    dist.barrier()
    leave_group()
    if not right:
        raise SlurmError(f"the all-reduce over {world} ranks gave a wrong sum on rank {rank}; suspect this node.")
    if rank == 0:
        sys.stdout.write(f"{gb_s:.2f} GB/s over {world} ranks\n")
    if gb_s < min_gb_s and world > 1:
        raise SlurmError(f"the all-reduce reached {gb_s:.2f} GB/s, expected {min_gb_s:g}; see NCCL_* in the profile.")
    return gb_s


def _number(name: str, slurm_name: str, default: int) -> int:
    return int(os.environ.get(name, os.environ.get(slurm_name, str(default))))
