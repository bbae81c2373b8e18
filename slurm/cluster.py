"""Slurm's commands (squeue, sacct, scontrol, scancel), each with an answer for a cluster that does not reply."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import TypeVar

from bandloom.errors import SlurmError
from bandloom.slurm.records import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    Job,
    Node,
    Partition,
    parse_accounting,
    parse_job,
    parse_node,
    parse_partition,
    parse_queue,
)

_OF_AN_ENCLOSING_JOB = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_", "PMI_", "PMIX_", "PMI2_")
_NOT_OF_A_JOB = {"SLURM_CONF", "SLURM_CLUSTERS"}
T = TypeVar("T")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` without what an enclosing job or run left in it: it would leak into the new job."""
    own = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"}
    own.add("BANDLOOM_ATTEMPT")
    return {
        name: value
        for name, value in environment.items()
        if name in _NOT_OF_A_JOB or not (name.startswith(_OF_AN_ENCLOSING_JOB) or name in own)
    }


def has_slurm() -> bool:
    """Tell whether this machine can submit jobs."""
    return shutil.which("sbatch") is not None


def ask(*command: str, text: str | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands in a clean environment; a missing command counts as one that failed."""
    try:
        return subprocess.run(
            command,
            env=clean_environment(os.environ),
            input=text,
            text=True,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]} is not on the PATH")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} did not answer in {timeout_s:g} s")


def queued_jobs(name: str) -> list[Job]:
    """Return the user's jobs of this name that wait or run, for whatever run folder the name stands."""
    user = os.environ.get("USER") or str(os.getuid())
    answer = ask("squeue", "-h", "-u", user, "-n", name, "-o", SQUEUE_FORMAT)
    if answer.returncode and user != str(os.getuid()):
        answer = ask("squeue", "-h", "-n", name, "-o", SQUEUE_FORMAT)
    return parse_queue(answer.stdout)


def find_job(job_id: str) -> Job | None:
    """Return a job from the controller, else from the accounting, else None: Slurm forgets jobs within minutes."""
    shown = ask("scontrol", "show", "job", "-o", job_id)
    for line in shown.stdout.splitlines():
        if job := parse_job(line):
            return job
    accounted = ask("sacct", "-X", "-n", "-P", "-o", SACCT_FORMAT, "-j", job_id)
    return next(iter(parse_accounting(accounted.stdout)), None) if accounted.returncode == 0 else None


def nodes() -> list[Node]:
    """Return every node the controller knows."""
    return _each(ask("scontrol", "show", "node", "-o"), parse_node)


def partitions() -> list[Partition]:
    """Return every partition the controller knows."""
    return _each(ask("scontrol", "show", "partition", "-o"), parse_partition)


def cancel(job_id: str) -> None:
    """Cancel a job.

    Raises:
        SlurmError: Slurm refuses.
    """
    answer = ask("scancel", job_id)
    if answer.returncode:
        raise SlurmError(f"scancel {job_id} failed: {answer.stderr.strip()}.")


def _each(answer: subprocess.CompletedProcess[str], parse: Callable[[str], T | None]) -> list[T]:
    if answer.returncode:
        raise SlurmError(f"the cluster does not answer ({answer.stderr.strip()}); try again from a login node.")
    return [found for line in answer.stdout.splitlines() if (found := parse(line)) is not None]
