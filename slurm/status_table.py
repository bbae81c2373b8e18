"""The table that ``bandloom slurm status`` prints."""

from datetime import timedelta

from rich.console import Group, RenderableType
from rich.table import Table

from bandloom.command_line.console import table
from bandloom.slurm.status import Attempt, RunStatus


def show_status(status: RunStatus) -> RenderableType:
    """Return the lines and the table of attempts for one run."""
    return Group(*headline(status), _attempts(status.attempts)) if status.attempts else Group(*headline(status))


def headline(status: RunStatus) -> list[str]:
    """Return what is said above the attempts, a line each."""
    where = f" (job {status.job_id})" if status.job_id else ""
    lines = [f"{status.run}: {status.state}{where}{': ' + status.detail if status.detail else ''}"]
    if status.step is not None and (status.step or status.total):
        parts = [f"step {status.step}{f' of {status.total}' if status.total else ''}"]
        parts += [f"{status.rate:.2f} steps/s"] if status.rate else []
        parts += [f"{_duration(status.eta_s)} left"] if status.eta_s is not None else []
        parts += [f"loss {status.loss:.4f}"] if status.loss is not None else []
        parts += [f"saved at {status.saved_step}"] if status.saved_step is not None else []
        lines.append("  " + ", ".join(parts))
    if status.excluded:
        lines.append(f"  excluded nodes: {status.excluded}")
    for node, times in status.stragglers.items():
        lines.append(f"  straggler: {node} takes {times} times as long a step as the others; consider exclude: {node}")
    for attempt in status.attempts:
        for rank, place in attempt.suspects.items():
            lines.append(f"  attempt {attempt.name} hung: rank {rank} was in {place}; its stack is in rank-{rank}.log")
    return lines


def _attempts(attempts: tuple[Attempt, ...]) -> Table:
    rows = [(a.name, " ".join(a.nodes), "" if a.step is None else a.step, a.why or "running") for a in attempts]
    return table("", ("attempt", "nodes", "step", "ended"), rows)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
