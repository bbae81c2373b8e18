"""Commands ``bandloom slurm``."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from bandloom.command_line.console import console, table
from bandloom.errors import RunFolderError, SlurmError, SlurmRefusedError
from bandloom.slurm import cluster, submit
from bandloom.slurm.job import ArrayJob, TrainJob, parse_minutes
from bandloom.slurm.profile import Profile, load_profile
from bandloom.slurm.render import render_array, render_train
from bandloom.slurm.run_record import need_record
from bandloom.slurm.status import read_status
from bandloom.slurm.status_table import show_status

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Launch, watch, stop and resume runs on a Slurm cluster."
)
T = TypeVar("T")

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")]
ProfileOption = Annotated[str, typer.Option("--profile", "-p", help="A profile's name or path.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the very script, ask sbatch --test-only, write nothing.")
]


@app.command("submit")
def submit_run(
    run: RunArgument,
    config: Annotated[Path, typer.Argument(help="The trainer's config.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value changes of the config.")] = None,
    profile: ProfileOption = "plain",
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes.")] = 1,
    time: Annotated[str | None, typer.Option(help="Limit of one attempt: 90m, 24h, 2d. The run outlives it.")] = None,
    verb: Annotated[str, typer.Option(help="What trains: pretrain, finetune, ...")] = "pretrain",
    dry_run: DryRun = False,
) -> None:
    """Train CONFIG in RUN on the cluster."""
    chosen = load_profile(profile)
    planned = submit.plan(run, config, chosen, nodes=nodes, time=time, verb=verb, overrides=overrides or ())
    submit.check(planned)
    _submit_or_show(planned, dry_run)


@app.command()
def status(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="Run folders; by default all below.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a run.")] = False,
) -> None:
    """Say how runs are: step, rate, time left, every attempt and why it ended."""
    folders = runs or sorted(path.parent.parent for path in Path.cwd().glob("**/slurm/job.json"))
    if not folders:
        raise RunFolderError(f"there is no submitted run below {Path.cwd()}; name one: bandloom slurm status RUN.")
    for folder in folders:
        state = read_status(Path(os.path.abspath(folder)))
        if as_json:
            sys.stdout.write(json.dumps(asdict(state)) + "\n")
        else:
            console.print(show_status(state), soft_wrap=True)


@app.command()
def logs(
    run: RunArgument,
    rank: Annotated[int | None, typer.Option(help="A rank's own log; by default the job's.")] = None,
    attempt: Annotated[str | None, typer.Option(help="Of which attempt; by default the newest.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing.")] = False,
) -> None:
    """Print the log of a run or of one rank."""
    path = _log_path(run, rank, attempt)
    sys.stdout.flush()
    subprocess.run(["tail", "-n", "+1", *(["-F"] if follow else []), str(path)], check=False)


@app.command()
def stop(run: RunArgument) -> None:
    """End a run after a save; `resume` lets it go on."""
    name = _folder(run)
    (name / "KILL").touch()
    waiting = [job for job in cluster.queued_jobs(need_job_name(name)) if job.state == "PENDING"]
    for job in waiting:
        cluster.cancel(job.job_id)
    _say(f"{name}: " + ("its waiting job was cancelled" if waiting else "it will save and end at its next step"))


@app.command()
def resume(
    run: RunArgument,
    nodes: Annotated[int | None, typer.Option(min=1, help="Another number of nodes.")] = None,
    time: Annotated[str | None, typer.Option(help="Another limit of one attempt.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", "-p", help="Another profile.")] = None,
    new_code: Annotated[bool, typer.Option("--new-code", help="Snapshot the code anew.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Let a stopped or failed run go on from its newest checkpoint."""
    folder = _folder(run)
    record = need_record(folder)
    chosen = load_profile(profile) if profile else Profile.model_validate(record.profile)
    config = folder / "slurm" / "config.yaml"
    job = TrainJob(
        run=folder,
        command=tuple(record.command),
        program=submit.program_of(chosen) if profile else tuple(record.program),
        nodes=nodes or record.nodes,
        minutes=parse_minutes(time) if time else record.minutes,
        folder=Path(record.folder),
        code=folder / "slurm" / "code",
    )
    planned = submit.Submission(job, chosen, record.verb, config if config.exists() else None, tuple(record.overrides))
    problems = [said for said in submit.problems(planned) if "KILL lies in it" not in said]
    if problems:
        raise SlurmError("\n       ".join(problems))
    if not dry_run:
        submit.need_sbatch()
        (folder / "KILL").unlink(missing_ok=True)
        (folder / "slurm" / "failures.log").unlink(missing_ok=True)
    _submit_or_show(planned, dry_run, new_code=new_code)


@app.command()
def check(
    profile: ProfileOption = "plain",
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes to check.")] = 2,
    folder: Annotated[Path, typer.Option(help="Where the check's logs go; the nodes must share it.")] = Path(
        "slurm-check"
    ),
    wait: Annotated[str, typer.Option(help="How long to wait for the job.")] = "15m",
) -> None:
    """Run the preflight of a profile on some nodes and say which pass."""
    chosen = load_profile(profile)
    where = Path(os.path.abspath(folder)) / time.strftime("%Y%m%d-%H%M%S")
    job = TrainJob(
        where, (), submit.program_of(chosen), nodes, 10, Path.cwd(), where / "slurm" / "code", check_only=True
    )
    relaxed = chosen.with_changes(signal_lead_s=min(chosen.signal_lead_s, 60))
    planned = submit.Submission(job, relaxed, "check", None, ())
    submit.check(planned)
    job_id = submit.submit(planned)
    _say(f"job {job_id} checks {nodes} nodes; logs in {where}")
    passed = _wait_for_check(where, job_id, parse_minutes(wait) * 60)
    raise typer.Exit(0 if passed else 1)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
)
def array(
    context: typer.Context,
    parts: Annotated[int, typer.Option(min=1, help="How many parts; each runs the verb with --part i/n.")],
    profile: ProfileOption = "plain",
    at_once: Annotated[int, typer.Option(min=0, help="How many at the same time; 0 is as many as fit.")] = 0,
    time: Annotated[str | None, typer.Option(help="Limit of one part: 90m, 24h.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where logs and markers go; by default OUT.array.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Run a verb in parts, such as: array --parts 16 --profile cpu shards build SCENES --out SHARDS."""
    command = tuple(context.args)
    chosen = load_profile(profile)
    job = ArrayJob(
        folder=Path(os.path.abspath(folder or _array_folder(command))),
        command=command,
        program=submit.program_of(chosen),
        parts=parts,
        at_once=at_once,
        minutes=parse_minutes(time or chosen.time),
        working_folder=Path.cwd(),
        code=Path(os.path.abspath(folder or _array_folder(command))) / "code",
    )
    if dry_run:
        _show(render_array(job, chosen))
        return
    job_id = _or_refused(lambda: submit.submit_array(job, chosen))
    _say(f"job {job_id}: {parts} parts; logs and markers in {job.folder}/parts")


@app.command("all-reduce", hidden=True)
def all_reduce_ranks(min_gb_s: Annotated[float, typer.Option("--min-gb-s")] = 0.0) -> None:
    """Time an all-reduce over the ranks that srun started (the preflight calls it)."""
    from bandloom.slurm.collective import all_reduce

    all_reduce(min_gb_s)


def need_job_name(run: Path) -> str:
    """Return the job name of a run that exists."""
    from bandloom.slurm.job import job_name

    return job_name(run)


def _submit_or_show(planned: submit.Submission, dry_run: bool, *, new_code: bool = True) -> None:
    if dry_run:
        _show(render_train(planned.job, planned.profile))
        return
    job_id = _or_refused(lambda: submit.submit(planned, new_code=new_code))
    run = planned.job.run
    _say(f"job {job_id} trains in {run}\n  bandloom slurm status {run}\n  bandloom slurm logs {run} -f")


def _show(script: str) -> None:
    sys.stdout.write(script)
    if cluster.has_slurm():
        _say(f"# sbatch --test-only: {_or_refused(lambda: submit.test_only(script))}")


def _say(text: str) -> None:
    """Print a line whole: people and programs look for words in it."""
    console.print(text, soft_wrap=True)


def _or_refused(action: Callable[[], T]) -> T:
    try:
        return action()
    except SlurmRefusedError as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(3) from error


def _folder(run: Path) -> Path:
    folder = Path(os.path.abspath(run))
    if not folder.is_dir():
        raise RunFolderError(f"there is no run folder {run}; check the path.")
    return folder


def _log_path(run: Path, rank: int | None, attempt: str | None) -> Path:
    folder = _folder(run)
    if rank is None and attempt is None:
        path = folder / "slurm" / "job.log"
    else:
        attempts = read_status(folder).attempts
        names = [run.name for run in attempts]
        if attempt is not None and attempt not in names:
            raise RunFolderError(f"{run} has no attempt {attempt!r}; it has {', '.join(names) or 'none yet'}.")
        chosen = attempt or (names[-1] if names else "none yet")
        path = folder / "attempts" / chosen / f"rank-{rank or 0}.log"
    if not path.exists():
        raise RunFolderError(f"there is no log {path} yet; see: bandloom slurm status {run}.")
    return path


def _array_folder(command: tuple[str, ...]) -> str:
    for option, value in pairwise(command):
        if option == "--out":
            return f"{value.rstrip('/')}.array"
    raise SlurmError(
        f"the array's command {shlex.join(command)!r} has no --out to put its logs beside; name a place with --folder."
    )


def _wait_for_check(where: Path, job_id: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job = cluster.find_job(job_id)
        if job is None or job.state not in {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING"}:
            break
        time.sleep(1)
    attempt = where / "attempts" / f"{job_id}.0"
    names = (attempt / "nodes").read_text().split() if (attempt / "nodes").exists() else []
    rows = [
        (name, "passes" if (attempt / f"preflight.{name}").exists() else "FAILS", _last_line(attempt, name))
        for name in names
    ]
    why = (attempt / "why").read_text().strip() if (attempt / "why").exists() else "the job did not start in time"
    console.print(table("preflight", ("node", "", "says"), rows))
    _say(why)
    if (attempt / "all-reduce.log").exists():
        _say((attempt / "all-reduce.log").read_text().strip().splitlines()[-1])
    return why == "preflight passed"


def _last_line(attempt: Path, node: str) -> str:
    log = attempt / f"preflight-{node}.log"
    lines = log.read_text().strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "(no log)"
