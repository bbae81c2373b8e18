"""Checks of a submission before sbatch: each problem is a sentence that says what to write instead."""

import difflib
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from bandloom.errors import SlurmError, nearest
from bandloom.run_state.markers import RunMarkers
from bandloom.slurm import cluster
from bandloom.slurm.job import TrainJob, job_name, slurm_time
from bandloom.slurm.profile import Profile
from bandloom.slurm.records import Node, Partition, expand_nodes
from bandloom.slurm.run_record import read_record

_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+=@-]+")
_LOCAL = {"tmpfs", "ramfs", "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "vfat", "squashfs"}


def path_problems(what: str, folder: Path) -> Iterator[str]:
    """Say what of a folder's path Slurm's file patterns and other programs' lists of paths would take for their own."""
    if not _PLAIN_PATH.fullmatch(str(folder)):
        yield (
            f"the {what} folder {str(folder)!r} has characters that batch scripts and Slurm's file patterns trip over; "
            "choose a path of letters, digits and /._+=@-."
        )


def working_folder_problems(folder: Path, profile: Profile) -> Iterator[str]:
    """Say what of the working folder cannot be told to Slurm, or to a container."""
    if unfit := sorted({c for c in str(folder) if not c.isprintable()}):
        yield f"the working folder {str(folder)!r} has the character {unfit[0]!r}; rename it, or submit from another."
    elif profile.container.kind != "none" and re.search(r"[:,]", str(folder)):
        yield (
            f"the working folder {str(folder)!r} has a colon or a comma, which part the mounts of a container; rename "
            "it, or submit from another."
        )


def setup_problems(profile: Profile) -> Iterator[str]:
    """Say what of the profile's setup is no bash by itself: a quote or a here-document without an end, for one."""
    read = subprocess.run(
        ["bash", "-n"],
        input="\n".join(profile.setup) + "\n",
        env={**os.environ, "LC_ALL": "C"},
        text=True,
        capture_output=True,
        check=False,
    )
    if read.returncode or read.stderr:
        said = read.stderr.strip().splitlines()[0].removeprefix("bash: ")
        yield f"the profile's setup is no bash by itself ({said}; lines are counted within setup); correct it."


def folder_problems(run: Path, profile: Profile, nodes: int) -> Iterator[str]:
    """Say what keeps ``run`` from being the folder of a run on ``nodes`` nodes."""
    if unfit := list(path_problems("run", run)):
        yield from unfit
        return
    existing = next(parent for parent in (run, *run.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        yield f"the run folder {run} cannot be written ({existing}); choose a folder of your own."
    elif nodes > 1 and (kind := file_system(existing)) in _LOCAL and not _declared_shared(run, profile):
        yield (
            f"the run folder {run} is on a file system of this machine alone ({kind}) and {nodes} nodes must share it; "
            "choose one on the shared file system, or list it under shared_paths in the profile if all nodes see it."
        )


def run_problems(run: Path, config: dict[str, Any] | None, overrides: Sequence[str]) -> Iterator[str]:
    """Say what keeps an existing run from being submitted (again) with this config."""
    if RunMarkers(run).done():
        yield f"the run {run} is complete (DONE lies in it); choose another folder for a new run."
    if (run / "KILL").exists():
        yield f"the run {run} was stopped (KILL lies in it); let it go on with: bandloom slurm resume {run}."
    live = (
        [job for job in cluster.queued_jobs(job_name(run)) if job.state != "COMPLETING"] if cluster.has_slurm() else []
    )
    if live:
        yield (
            f"job {live[0].job_id} ({live[0].state.lower()}) works on {run} already; watch it with: bandloom slurm "
            f"status {run}, or end it with: bandloom slurm stop {run}."
        )
    record = read_record(run)
    snapshot = run / "slurm" / "config.yaml"
    if record is not None and snapshot.exists() and config is not None:
        before = _resolved(yaml.safe_load(snapshot.read_text()) or {}, record.overrides)
        now = _resolved(config, overrides)
        if before != now:
            yield (
                f"the run {run} was made with another config ({_difference(before, now)}); "
                "choose another folder, or put the config back."
            )


def batch_problems(batch: int | None, profile: Profile, nodes: int) -> Iterator[str]:
    """Say whether the global batch divides over the ranks."""
    ranks = nodes * profile.tasks_per_node
    if batch is None or batch % ranks == 0:
        return
    fitting = [n for n in range(1, max(nodes * 2, 8) + 1) if batch % (n * profile.tasks_per_node) == 0]
    closest = sorted(sorted(fitting, key=lambda n: abs(n - nodes))[:2])
    advice = (
        f"use --nodes {' or '.join(map(str, closest))}"
        if closest
        else f"choose a batch that {profile.tasks_per_node} divides"
    )
    yield (
        f"the global batch of {batch} does not divide over {nodes} nodes x {profile.tasks_per_node} ranks = {ranks}; "
        f"{advice}, or batch_size={max(ranks, round(batch / ranks) * ranks)}."
    )


def time_problems(profile: Profile, minutes: int) -> Iterator[str]:
    """Say whether the signal that asks for a save comes when there is something to save."""
    if profile.signal_lead_s > minutes * 30:
        yield (
            f"the save would be asked for {profile.signal_lead_s} s before the end of {slurm_time(minutes)}, "
            f"past its half; set signal_lead_s to at most {minutes * 30} in the profile, or ask for more time."
        )


def cluster_problems(
    profile: Profile, nodes: int, minutes: int, known: Sequence[Partition], machines: Sequence[Node]
) -> Iterator[str]:
    """Say what this cluster cannot give; ``known`` and ``machines`` are all it has."""
    names = [partition.name for partition in known]
    chosen = [p for p in known if p.name == profile.partition or (profile.partition is None and p.default)]
    if profile.partition is not None and not chosen:
        yield f"there is no partition {profile.partition!r}; the cluster has {', '.join(names)}." + nearest(
            profile.partition, names
        )
        return
    for partition in chosen[:1]:
        yield from _partition_problems(partition, nodes, minutes, known)
        machines = [node for node in machines if partition.name in node.partitions]
    all_names = [node.name for node in machines]
    excluded = expand_nodes(profile.exclude) if profile.exclude else []
    for name in excluded:
        if name not in all_names:
            yield f"the profile excludes the unknown node {name!r}; correct exclude.{nearest(name, all_names)}"
    yield from _resource_problems(profile, nodes, [node for node in machines if node.name not in excluded])


def _partition_problems(partition: Partition, nodes: int, minutes: int, known: Sequence[Partition]) -> Iterator[str]:
    if partition.max_minutes is not None and minutes > partition.max_minutes:
        longer = [p.name for p in known if p.max_minutes is None or p.max_minutes >= minutes]
        other = f", or a partition that allows it: {', '.join(longer)}" if longer else ""
        yield (
            f"the time limit {slurm_time(minutes)} is longer than partition {partition.name} allows and the job would "
            f"wait for ever; use --time {partition.max_minutes}m{other} (a run goes on after each limit by itself)."
        )
    if partition.max_nodes is not None and nodes > partition.max_nodes:
        yield (
            f"{nodes} nodes are more than partition {partition.name} gives a job; use --nodes {partition.max_nodes} "
            "at most."
        )
    if not partition.state.startswith("UP"):
        yield f"the partition {partition.name} is {partition.state.lower()}; choose another, or ask whoever runs it."


def _resource_problems(profile: Profile, nodes: int, machines: Sequence[Node]) -> Iterator[str]:
    if not machines:
        return
    cpus = profile.cpus_per_rank * profile.tasks_per_node
    gpus = profile.gpus_per_node
    most_gpus, most_cpus = max(node.gpus for node in machines), max(node.cpus for node in machines)
    memory = _megabytes(profile.memory)
    types = sorted(frozenset().union(*(node.gpu_types for node in machines)))
    if profile.gpu_type and types and profile.gpu_type not in types:
        yield f"no node has GPUs of type {profile.gpu_type!r}; the cluster has {', '.join(types)}." + nearest(
            profile.gpu_type, types
        )
    elif gpus > most_gpus:
        yield f"no node has {gpus} GPUs, the most is {most_gpus}; set gpus_per_node: {most_gpus} in the profile."
    elif cpus > most_cpus:
        yield (
            f"{profile.tasks_per_node} ranks x {profile.cpus_per_rank} cores need {cpus} CPUs a node, the most is "
            f"{most_cpus}; set cpus_per_rank: {max(1, most_cpus // profile.tasks_per_node)} in the profile."
        )
    elif memory > max(node.memory_mb for node in machines):
        most = max(node.memory_mb for node in machines)
        yield f"no node has {profile.memory} of memory, the most is {most}M; set memory: {most}M, or 0 for all of it."
    else:
        fitting = [n for n in machines if n.gpus >= gpus and n.cpus >= cpus and n.memory_mb >= memory]
        if len(fitting) < nodes:
            yield f"{nodes} such nodes do not exist, only {len(fitting)}; use --nodes {len(fitting)} at most."


def trainer_problems(job: TrainJob, arguments: Sequence[str], environment: dict[str, str]) -> Iterator[str]:
    """Say what the trainer itself says of its config: its own ``--dry-run``, in a process of its own."""
    command = [*job.program, *arguments, "--dry-run"]
    try:
        answer = subprocess.run(
            command, cwd=job.folder, env=environment, text=True, capture_output=True, timeout=300, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        yield f"the trainer's own check could not run ({' '.join(command)}: {cause}); see the profile's program."
        return
    said = (answer.stderr.strip() or answer.stdout.strip()).removeprefix("error: ")
    if answer.returncode and "No such option" not in said:
        yield f"the trainer refuses the config: {said.splitlines()[-1] if said else f'exit code {answer.returncode}'}"


def global_batch(config: dict[str, Any] | None, overrides: Iterable[str]) -> int | None:
    """Return the global batch that a config and its overrides ask for, or None when they leave it to the default."""
    resolved = _resolved(config or {}, overrides)
    sizes = [value for key, value in resolved.items() if key.rpartition(".")[2] == "batch_size"]
    return sizes[0] if sizes and isinstance(sizes[0], int) else None


def read_config(path: Path) -> dict[str, Any]:
    """Read a config as a plain mapping.

    Raises:
        SlurmError: it cannot be read or is no mapping.
    """
    try:
        config = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as cause:
        raise SlurmError(f"the config {path} cannot be read ({cause}); check the path.") from cause
    if not isinstance(config, dict):
        raise SlurmError(f"the config {path} holds a {type(config).__name__}; expected keys and values.")
    return config


def file_system(path: Path) -> str:
    """Return the type of the file system that holds ``path``, such as ``nfs4``, ``lustre`` or ``ext4``."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    resolved = path.resolve()
    holding = [m for m in mounts if len(m) > 2 and (resolved == Path(m[1]) or Path(m[1]) in resolved.parents)]
    return max(holding, key=lambda m: len(m[1]))[2] if holding else "unknown"


def _declared_shared(run: Path, profile: Profile) -> bool:
    return any(run == Path(path) or Path(path) in run.parents for path in profile.shared_paths)


def _megabytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", text, re.IGNORECASE)
    if match is None:
        raise SlurmError(f"the profile's memory {text!r} is not understood; write 200G, 64000M, or 0 for all of it.")
    return int(int(match[1]) * {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024**2}[match[2].upper()])


def _resolved(config: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    flat = dict(_flat(config))
    for override in overrides:
        key, _, value = override.partition("=")
        flat[key] = yaml.safe_load(value)
    return flat


def _flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    lines = difflib.ndiff(
        [f"{k}: {v}" for k, v in sorted(before.items())], [f"{k}: {v}" for k, v in sorted(now.items())]
    )
    return "; ".join(line.replace("  ", " ", 1) for line in lines if line[0] in "+-")
