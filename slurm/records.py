"""Parsers of Slurm's output, field by field, for Slurm 20 to 24."""

import re
from dataclasses import dataclass

_FIELD = re.compile(r"(?:^|(?<=\s))([A-Za-z][A-Za-z0-9_/:.]*)=")


def fields(line: str) -> dict[str, str]:
    """Return the ``Key=value`` pairs of one line of ``scontrol show ... -o``; values may hold spaces."""
    marks = list(_FIELD.finditer(line))
    ends = [*(mark.start() for mark in marks[1:]), len(line)]
    return {mark[1]: line[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=False)}


@dataclass(frozen=True)
class Job:
    """A job as the controller or the accounting knows it.

    Attributes:
        job_id: the job's number, with ``_element`` for arrays.
        state: Slurm's word without flags, such as ``RUNNING`` or ``NODE_FAIL``.
        reason: why it waits or how it ended; empty where Slurm says None.
        nodes: the node list, as Slurm folds it.
        restarts: how often it was requeued.
        excluded: nodes the job must not use.
        expected_start: when Slurm thinks that it starts; empty when unknown.
    """

    job_id: str
    state: str
    reason: str = ""
    nodes: str = ""
    restarts: int = 0
    excluded: str = ""
    expected_start: str = ""


@dataclass(frozen=True)
class Node:
    """A node's resources.

    Attributes:
        name: as Slurm knows it.
        cpus: logical CPUs.
        memory_mb: real memory in MB.
        gpus: number of GPUs, of any type.
        gpu_types: type names, such as ``h100``.
        partitions: the partitions it belongs to.
        state: Slurm's word with flags, such as ``IDLE+DRAIN``.
    """

    name: str
    cpus: int
    memory_mb: int
    gpus: int
    gpu_types: frozenset[str]
    partitions: frozenset[str]
    state: str


@dataclass(frozen=True)
class Partition:
    """A partition's limits; ``max_minutes`` and ``max_nodes`` are None where there is no limit."""

    name: str
    max_minutes: int | None
    max_nodes: int | None
    default: bool
    state: str


def parse_job(line: str) -> Job | None:
    """Return the job in one line of ``scontrol show job -o``, or None when the line holds none."""
    values = fields(line)
    if "JobId" not in values or "JobState" not in values:
        return None
    array = values.get("ArrayJobId")
    element = values.get("ArrayTaskId", "")
    return Job(
        job_id=f"{array}_{element}" if array and element.isdigit() else values["JobId"].partition(" ")[0],
        state=_state(values["JobState"]),
        reason=_known(values.get("Reason", "")),
        nodes=_known(values.get("NodeList", "")),
        restarts=_count(values.get("Restarts")),
        excluded=_known(values.get("ExcNodeList", "")),
        expected_start=_known(values.get("StartTime", "")),
    )


SQUEUE_FORMAT = "%i|%T|%r|%N|%S"


def parse_queue(text: str) -> list[Job]:
    """Return the jobs that ``squeue -h -o '%i|%T|%r|%N|%S'`` lists."""
    jobs = []
    for line in text.splitlines():
        if line.count("|") == 4:
            job_id, state, reason, nodes, start = (part.strip() for part in line.split("|"))
            jobs.append(Job(job_id, _state(state), _known(reason), _known(nodes), expected_start=_known(start)))
    return jobs


SACCT_FORMAT = "JobID,State,NodeList,ExitCode"


def parse_accounting(text: str) -> list[Job]:
    """Return the jobs of ``sacct -X -n -P -o JobID,State,NodeList,ExitCode``."""
    jobs = []
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) >= 4 and parts[0][:1].isdigit():
            reason = "" if parts[3] == "0:0" else f"exit code {parts[3]}"
            jobs.append(Job(parts[0], _state(parts[1]), reason, _known(parts[2].replace("None assigned", ""))))
    return jobs


def parse_node(line: str) -> Node | None:
    """Return the node in one line of ``scontrol show node -o``."""
    values = fields(line)
    if "NodeName" not in values:
        return None
    gpus = re.findall(r"gpu(?::([A-Za-z_][\w.-]*))?:(\d+)", values.get("Gres", ""))
    return Node(
        name=values["NodeName"],
        cpus=_count(values.get("CPUTot")),
        memory_mb=_count(values.get("RealMemory")),
        gpus=sum(int(count) for _, count in gpus),
        gpu_types=frozenset(kind for kind, _ in gpus if kind),
        partitions=frozenset(filter(None, values.get("Partitions", "").split(","))),
        state=values.get("State", ""),
    )


def parse_partition(line: str) -> Partition | None:
    """Return the partition in one line of ``scontrol show partition -o``."""
    values = fields(line)
    if "PartitionName" not in values:
        return None
    nodes = values.get("MaxNodes", "UNLIMITED")
    return Partition(
        name=values["PartitionName"],
        max_minutes=_limit(values.get("MaxTime", "UNLIMITED")),
        max_nodes=int(nodes) if nodes.isdigit() else None,
        default=values.get("Default", "NO") == "YES",
        state=values.get("State", "UP"),
    )


def expand_nodes(text: str) -> list[str]:
    """Return the node names in a folded list such as ``n[1-3,07],login``."""
    names: list[str] = []
    for part in re.findall(r"[^,\[]+(?:\[[^\]]*\][^,\[]*)*", text):
        names += _expand(part)
    return names


def _expand(part: str) -> list[str]:
    match = re.search(r"\[([^\]]*)\]", part)
    if match is None:
        return [part]
    names = []
    for piece in match[1].split(","):
        first, _, last = piece.partition("-")
        for number in range(int(first), int(last or first) + 1):
            names += _expand(f"{part[: match.start()]}{number:0{len(first)}d}{part[match.end() :]}")
    return names


def _state(text: str) -> str:
    """Slurm's first word: ``CANCELLED by 1000`` and ``RUNNING+`` are CANCELLED and RUNNING."""
    return re.split(r"[\s+*]", text.strip(), maxsplit=1)[0].upper()


def _count(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _known(text: str) -> str:
    return "" if text in {"(null)", "None", "N/A", "Unknown", "n/a"} else text


def _limit(text: str) -> int | None:
    from bandloom.slurm.job import parse_minutes

    return None if text in {"UNLIMITED", "INFINITE", "NONE"} else parse_minutes(text)
