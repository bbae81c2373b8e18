"""The launcher's record in ``RUN/slurm``: script, config, code, log, and the jobs that were submitted."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bandloom.errors import SlurmError
from bandloom.files.output import write_json
from bandloom.run_state.markers import read_marker


@dataclass(frozen=True)
class RunRecord:
    """How a run was submitted, so that ``resume`` and ``status`` need nothing but the folder.

    Attributes:
        verb: the verb that trains, such as ``pretrain``.
        config: the user's config path, or None where the command has none.
        overrides: ``key=value`` arguments.
        profile: the profile, as it was then.
        nodes: nodes of the newest submission.
        minutes: time limit of the newest submission.
        folder: the working folder.
        program: the words that start bandloom.
        command: the whole command after the program.
        job_ids: every job that was submitted for this run, oldest first.
    """

    verb: str
    config: str | None
    overrides: list[str]
    profile: dict[str, Any]
    nodes: int
    minutes: int
    folder: str
    program: list[str]
    command: list[str]
    job_ids: list[str] = field(default_factory=list)


def record_path(run: Path) -> Path:
    """Return where a run's record lies."""
    return run / "slurm" / "job.json"


def read_record(run: Path) -> RunRecord | None:
    """Return the record of a run, or None when it was never submitted."""
    record = read_marker(record_path(run))
    try:
        return RunRecord(**record) if record else None
    except TypeError as cause:
        raise SlurmError(f"{record_path(run)} is of another version of this program; move it away.") from cause


def need_record(run: Path) -> RunRecord:
    """Return the record of a run.

    Raises:
        SlurmError: the run was never submitted.
    """
    record = read_record(run)
    if record is None:
        raise SlurmError(
            f"{run} was never submitted; start it with: bandloom slurm submit {run} CONFIG --profile NAME."
        )
    return record


def write_record(run: Path, record: RunRecord) -> None:
    """Keep the record, atomically."""
    record_path(run).parent.mkdir(parents=True, exist_ok=True)
    write_json(record_path(run), json.loads(json.dumps(asdict(record), default=str)))
