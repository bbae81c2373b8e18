"""``bandloom slurm status``: read from the run's folder first, then from what Slurm remembers; needs no accounting."""

import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bandloom.errors import RunFolderError
from bandloom.run_state.markers import TRAINING, RunMarkers, read_marker
from bandloom.slurm import cluster
from bandloom.slurm.job import job_name
from bandloom.slurm.records import Job
from bandloom.slurm.run_record import read_record
from bandloom.slurm.stacks import stacks_of, suspects

STRAGGLER_FACTOR = 1.3  # a node whose median step takes so much longer than the median node's holds all others up
# states in which the newest attempt still runs
_RUNS = {"starting", "training", "scoring", "baselines", "saving", "stalled"}
_OF_TRAINING = (
    "opening the run folder",
    "making the engine",
    "chips of the first head",
    "first step",
    "saving a snapshot",
)  # stages of a beat
_ACTIVE = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "STOPPED"}


@dataclass(frozen=True)
class Attempt:
    """One start of a run.

    Attributes:
        name: job id and restart count.
        nodes: the nodes it ran on.
        step: the last step it reported.
        why: why it ended; empty while it runs.
        suspects: for a hang, rank to where it was.
    """

    name: str
    nodes: tuple[str, ...] = ()
    step: int | None = None
    why: str = ""
    suspects: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunStatus:
    """A run at one moment.

    Attributes:
        run: the run folder.
        state: queued, starting, training, scoring, baselines, saving, stalled, requeued, stopped, done, failed or lost.
        detail: one line that says more of the state.
        job_id: the newest job.
        step: steps finished.
        total: steps the run will have, where the trainer says it.
        rate: steps a second.
        eta_s: seconds that are left, of pure training.
        loss: the last loss.
        saved_step: the step of the newest whole checkpoint.
        attempts: every attempt, oldest first.
        excluded: nodes that the job must not use.
        stragglers: node to how many times longer its steps take than the median node's.
    """

    run: str
    state: str
    detail: str = ""
    job_id: str | None = None
    step: int | None = None
    total: int | None = None
    rate: float | None = None
    eta_s: float | None = None
    loss: float | None = None
    saved_step: int | None = None
    attempts: tuple[Attempt, ...] = ()
    excluded: str = ""
    stragglers: dict[str, float] = field(default_factory=dict)


def read_status(run: Path, *, now: float | None = None) -> RunStatus:
    """Return how ``run`` is.

    Raises:
        RunFolderError: the folder was neither submitted nor trained in.
    """
    record = read_record(run)
    if record is None and not (run / "owner").exists():
        raise RunFolderError(f"{run} is no run folder: nothing was submitted or trained there; check the path.")
    attempts = attempts_of(run)
    job = _newest_job(run, record.job_ids if record else [])
    hang_s = int(record.profile.get("hang_s", 900)) if record else 900
    beat = _newest_beat(run, attempts)
    current = attempts[-1] if attempts else None
    age_s = (now or time.time()) - float(beat.get("time", 0)) if beat else None
    at_work = _beats(run, current)
    state, detail = judge(run, job, current, age_s if at_work else None, hang_s)
    if state == TRAINING and at_work:
        state, detail = stage_word(beat.get("stage")), stage_detail(beat.get("stage"), detail)
    if attempts and not attempts[-1].why and state not in _RUNS:
        attempts[-1] = replace(attempts[-1], why=_no_word(run))
    rate, total = beat.get("rate"), beat.get("total")
    step = current.step if current is not None and current.step is not None else beat.get("step")
    left = (total - step) / rate if rate and total is not None and step is not None else None
    return RunStatus(
        run=str(run),
        state=state,
        detail=detail,
        job_id=job.job_id if job else (record.job_ids[-1] if record and record.job_ids else None),
        step=step,
        total=total,
        rate=rate,
        eta_s=left if state in {"training", "queued", "requeued"} else None,
        loss=beat.get("loss"),
        saved_step=(read_marker(run / "saved") or {}).get("step"),
        attempts=tuple(attempts),
        excluded=job.excluded if job else "",
        stragglers=find_stragglers(at_work),
    )


def judge(run: Path, job: Job | None, current: Attempt | None, age_s: float | None, hang_s: int) -> tuple[str, str]:
    """Return a run's state and the line that explains it.

    Args:
        run: the run folder.
        job: what Slurm knows of the newest job, if anything.
        current: the newest attempt, if any.
        age_s: seconds since the newest attempt's last heartbeat; None when it has none.
        hang_s: from when on a heartbeat counts as old.
    """
    markers = RunMarkers(run)
    why = current.why if current else ""
    if markers.done():
        return "done", why if why != "done" else ""
    if job is not None and job.state == "RUNNING" and (current is None or not why):
        if age_s is None:
            return "starting", f"on {job.nodes}"
        stalled = age_s > hang_s
        return (
            ("stalled", f"no heartbeat for {age_s:.0f} s on {job.nodes}")
            if stalled
            else ("training", f"on {job.nodes}")
        )
    if job is not None and job.state in _ACTIVE:
        waits = "; ".join(filter(None, (job.reason, _start(job))))
        return ("requeued", "; ".join(filter(None, (why or _lost(current), waits)))) if current else ("queued", waits)
    if markers.kill_requested():
        return "stopped", f"`bandloom slurm resume {run}` lets it go on"
    if job is not None and job.state == "CANCELLED":
        return "stopped", "cancelled"
    if why or (job is not None and job.state not in {"COMPLETED"}):
        said = f"Slurm says {job.state.lower()} {job.reason}".strip() if job else ""
        return "failed", why or (f"{said}; {_no_word(run)}" if current else said)
    return "lost", "no job of it is left and no attempt said why; Slurm has forgotten it"


def stage_word(stage: str | None) -> str:
    """Return the word for what a heartbeat says is at work: training, baselines, saving or scoring."""
    said = stage or TRAINING
    if said.startswith(TRAINING) or said in _OF_TRAINING:
        return TRAINING
    if "baseline" in said or said.startswith("fitting"):
        return "baselines"
    return "saving" if said.startswith(("saving", "writing")) else "scoring"


def stage_detail(stage: str | None, detail: str) -> str:
    """Return a running run's line with the stage's own words, where they say more than its word."""
    return detail if not stage or stage in (TRAINING, stage_word(stage)) else f"{stage}, {detail}"


def attempts_of(run: Path) -> list[Attempt]:
    """Return every attempt at a run, oldest first."""
    folders = [path for path in (run / "attempts").glob("*") if path.is_dir()]
    ordered = sorted(folders, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)] or [0])
    attempts = [_attempt(path) for path in ordered]
    return [
        attempt
        if attempt.why or attempt is attempts[-1]
        else Attempt(attempt.name, attempt.nodes, attempt.step, _lost(attempt), attempt.suspects)
        for attempt in attempts
    ]


def find_stragglers(beats: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the nodes whose median step is much longer than the median node's, and how many times."""
    by_node: dict[str, list[float]] = {}
    for beat in beats:
        if beat.get("step_s") and beat.get("node"):
            by_node.setdefault(beat["node"], []).append(float(beat["step_s"]))
    medians = {node: statistics.median(times) for node, times in by_node.items()}
    if len(medians) < 2:
        return {}
    usual = statistics.median_low(list(medians.values()))
    slow = {node: round(own / usual, 2) for node, own in sorted(medians.items())}
    return {node: times for node, times in slow.items() if times > STRAGGLER_FACTOR}


def _attempt(folder: Path) -> Attempt:
    end, beat = read_marker(folder / "end"), read_marker(folder / "heartbeat")
    why = _text(folder / "why") or _said(end)
    held = (
        {rank: str(frame) for rank, frame in suspects(stacks_of(folder)).items()} if (folder / "HANG").exists() else {}
    )
    nodes = tuple(_text(folder / "nodes").split())
    return Attempt(folder.name, nodes, (end or beat or {}).get("step"), why, held)


def _said(end: dict[str, Any] | None) -> str:
    return " ".join(filter(None, (end.get("reason"), end.get("message")))) if end else ""


def _lost(attempt: Attempt | None) -> str:
    return "lost: its batch script left no word (node failure)" if attempt else ""


def _no_word(run: Path) -> str:
    """Say that an attempt left no reason, and how its log ends."""
    lines = _text(run / "slurm" / "job.log").splitlines()
    return f"it left no reason; slurm/job.log ends: {lines[-1][:200]}" if lines else "it left no reason and no log"


def _beats(run: Path, attempt: Attempt | None) -> list[dict[str, Any]]:
    if attempt is None:
        return []
    folder = run / "attempts" / attempt.name
    return [beat for path in sorted(folder.glob("heartbeat*")) if (beat := read_marker(path)) is not None]


def _newest_beat(run: Path, attempts: Sequence[Attempt]) -> dict[str, Any]:
    for attempt in reversed(attempts):
        if beat := read_marker(run / "attempts" / attempt.name / "heartbeat"):
            return beat
    return {}


def _newest_job(run: Path, job_ids: Sequence[str]) -> Job | None:
    if not cluster.has_slurm():
        return None
    if job_ids and (job := cluster.find_job(job_ids[-1])):
        return job
    return next(iter(cluster.queued_jobs(job_name(run))), None)


def _start(job: Job) -> str:
    return f"expected to start {job.expected_start}" if job.expected_start else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
