"""Job records: the launched command and its resources, made by the command line and read by the renderer."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from bandloom.errors import SlurmError


@dataclass(frozen=True)
class TrainJob:
    """A run of several ranks that saves, stops and goes on.

    Attributes:
        run: the run folder (absolute): the identity of the run, whatever the job ids.
        command: the verb and its arguments, such as ``("pretrain", "config.yaml", "--out", "RUN")``.
        program: the words that start bandloom on a node.
        nodes: how many nodes.
        minutes: time limit of one attempt.
        folder: the working folder.
        code: the snapshot of the code.
        check_only: run the preflight alone.
    """

    run: Path
    command: tuple[str, ...]
    program: tuple[str, ...]
    nodes: int
    minutes: int
    folder: Path
    code: Path
    check_only: bool = False

    @property
    def name(self) -> str:
        """The job's name: unique to the run folder, so that ``singleton`` lets one attempt live at a time."""
        return job_name(self.run)


@dataclass(frozen=True)
class ArrayJob:
    """Independent parts of one piece of work, ``--part i/n`` each.

    Attributes:
        folder: where scripts, logs and markers of the array lie (absolute).
        command: the verb and its arguments, without ``--part``.
        program: the words that start bandloom on a node.
        parts: how many parts.
        at_once: how many may run at the same time; 0 is as many as fit.
        minutes: time limit of one part.
        working_folder: the working folder.
        code: the snapshot of the code.
    """

    folder: Path
    command: tuple[str, ...]
    program: tuple[str, ...]
    parts: int
    at_once: int
    minutes: int
    working_folder: Path
    code: Path

    @property
    def name(self) -> str:
        """The job's name."""
        return job_name(self.folder)


def job_name(folder: Path) -> str:
    """Return the name of the job that works on ``folder``."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    return f"bandloom-{re.sub(r'[^A-Za-z0-9._-]', '-', folder.name)}-{digest}"


_UNITS = {"s": 1 / 60, "m": 1, "h": 60, "d": 24 * 60}
_SLURM_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?$")


def parse_minutes(text: str) -> int:
    """Return minutes, rounded up, from ``90m``, ``24h``, ``2d`` or a form of Slurm's (``1-12:00:00``).

    Raises:
        SlurmError: the text is no time.
    """
    if simple := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip()):
        return max(1, -int(-float(simple[1]) * _UNITS[simple[2]] // 1))
    match = _SLURM_TIME.fullmatch(text.strip())
    if match is None:
        raise SlurmError(f"the time {text!r} is not understood; write it as 90m, 24h, 2d or 1-12:00:00.")
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match["days"] is not None:  # D-HH[:MM[:SS]]
        seconds = days * 86400 + first * 3600 + second * 60 + third
    elif match["third"] is not None:  # HH:MM:SS
        seconds = first * 3600 + second * 60 + third
    else:  # MM[:SS]
        seconds = first * 60 + second
    return max(1, -(-seconds // 60))


def slurm_time(minutes: int) -> str:
    """Return ``minutes`` as Slurm writes a time limit: ``D-HH:MM:00``."""
    days, rest = divmod(minutes, 24 * 60)
    return f"{days}-{rest // 60:02d}:{rest % 60:02d}:00"
