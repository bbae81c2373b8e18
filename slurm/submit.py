"""``bandloom slurm submit``: the run's folder first, then the script, then sbatch."""

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bandloom.errors import SlurmError, SlurmRefusedError
from bandloom.slurm import cluster, validate
from bandloom.slurm.job import ArrayJob, TrainJob, parse_minutes
from bandloom.slurm.profile import Profile
from bandloom.slurm.render import render_array, render_train
from bandloom.slurm.run_record import RunRecord, read_record, write_record
from bandloom.slurm.snapshot import copy_code


@dataclass(frozen=True)
class Submission:
    """A run that is ready to be checked and submitted.

    Attributes:
        job: what is rendered.
        profile: the cluster.
        verb: the verb that trains.
        config: the user's config, or None for a command without one.
        overrides: ``key=value`` arguments.
    """

    job: TrainJob
    profile: Profile
    verb: str
    config: Path | None
    overrides: tuple[str, ...]

    @property
    def script(self) -> str:
        """The batch script."""
        return render_train(self.job, self.profile)


def plan(
    run: Path,
    config: Path,
    profile: Profile,
    *,
    nodes: int = 1,
    time: str | None = None,
    verb: str = "pretrain",
    overrides: Sequence[str] = (),
) -> Submission:
    """Return the submission that trains ``config`` in ``run``; nothing is written or asked yet."""
    run = Path(os.path.abspath(run))
    job = TrainJob(
        run=run,
        command=(verb, str(run / "slurm" / "config.yaml"), *overrides, "--out", str(run)),
        program=program_of(profile),
        nodes=nodes,
        minutes=parse_minutes(time or profile.time),
        folder=Path.cwd(),
        code=run / "slurm" / "code",
    )
    return Submission(job, profile, verb, config, tuple(overrides))


def program_of(profile: Profile) -> tuple[str, ...]:
    """Return the words that start bandloom on a node: the profile's, else the very command that runs now."""
    if profile.program:
        return tuple(shlex.split(profile.program))
    beside = Path(sys.executable).parent / "bandloom"
    program = str(beside) if beside.exists() else shutil.which("bandloom")
    return (program,) if program else (sys.executable, "-m", "bandloom.cli")


def problems(submission: Submission) -> list[str]:
    """Return every sentence about what is wrong with a submission; an empty list lets it pass."""
    job, profile = submission.job, submission.profile
    config = validate.read_config(submission.config) if submission.config else None
    problems_found = [
        *validate.setup_problems(profile),
        *validate.working_folder_problems(job.folder, profile),
        *validate.folder_problems(job.run, profile, job.nodes),
        *validate.run_problems(job.run, config, submission.overrides),
        *validate.batch_problems(validate.global_batch(config, submission.overrides), profile, job.nodes),
        *validate.time_problems(profile, job.minutes),
    ]
    if cluster.has_slurm():
        problems_found += validate.cluster_problems(
            profile, job.nodes, job.minutes, cluster.partitions(), cluster.nodes()
        )
    if submission.config is not None and not problems_found:  # it takes the longest: seconds to a minute
        arguments = (submission.verb, str(submission.config), *submission.overrides, "--out", str(job.run))
        problems_found += validate.trainer_problems(job, arguments, cluster.clean_environment(os.environ))
    return problems_found


def check(submission: Submission) -> None:
    """Refuse a submission that cannot work.

    Raises:
        SlurmError: every problem, a sentence a line.
    """
    if wrong := problems(submission):
        raise SlurmError("\n       ".join(wrong))


def submit(submission: Submission, *, new_code: bool = True) -> str:
    """Write the run folder's launch files, submit the job, and return its id.

    Args:
        submission: what to run; check it first.
        new_code: snapshot the code anew; False keeps the run's own where it has one.

    Raises:
        SlurmError: there is no sbatch here.
        SlurmRefusedError: sbatch refuses.
    """
    need_sbatch()
    run = submission.job.run
    new = not run.exists()
    try:
        with _private(submission.profile):
            return _submit(submission, run / "slurm", new_code)
    except SlurmRefusedError:
        if new:
            shutil.rmtree(run)
        raise


def _submit(submission: Submission, folder: Path, new_code: bool) -> str:
    run = submission.job.run
    folder.mkdir(parents=True, exist_ok=True)
    if submission.config is not None and submission.config.resolve() != (folder / "config.yaml").resolve():
        shutil.copyfile(submission.config, folder / "config.yaml")
    if new_code or not submission.job.code.exists():
        copy_code(submission.job.code)
    (folder / "job.sbatch").write_text(submission.script)
    before = read_record(run)
    record = record_of(submission, before.job_ids if before else [])
    write_record(run, record)
    job_id = _sbatch(folder / "job.sbatch")
    write_record(run, replace(record, job_ids=[*record.job_ids, job_id]))
    return job_id


def record_of(submission: Submission, job_ids: list[str]) -> RunRecord:
    """Return what the run folder keeps of a submission."""
    job = submission.job
    return RunRecord(
        verb=submission.verb,
        config=str(submission.config) if submission.config else None,
        overrides=list(submission.overrides),
        profile=submission.profile.model_dump(mode="json"),
        nodes=job.nodes,
        minutes=job.minutes,
        folder=str(job.folder),
        program=list(job.program),
        command=list(job.command),
        job_ids=job_ids,
    )


def submit_array(job: ArrayJob, profile: Profile) -> str:
    """Write the array's folder, submit it, and return its id; parts that are done already end at once."""
    need_sbatch()
    _check_array(job, profile)
    (job.folder / "parts").mkdir(parents=True, exist_ok=True)
    copy_code(job.code)
    script = job.folder / "job.sbatch"
    with _private(profile):
        script.write_text(render_array(job, profile))
    return _sbatch(script)


@contextlib.contextmanager
def _private(profile: Profile) -> Iterator[None]:
    """Keep what is written from other users' eyes where the profile may hold secrets: scripts and records repeat it."""
    before = os.umask(0o022)
    os.umask(before | 0o077 if profile.may_hold_secrets else before)
    try:
        yield
    finally:
        os.umask(before)


def _check_array(job: ArrayJob, profile: Profile) -> None:
    unfit = [
        *validate.setup_problems(profile),
        *validate.path_problems("array's", job.folder),
        *validate.working_folder_problems(job.working_folder, profile),
    ]
    if unfit:
        raise SlurmError("\n       ".join(unfit))


def test_only(script: str) -> str:
    """Return what ``sbatch --test-only`` says of a script: the expected start, or why it is refused.

    Raises:
        SlurmRefusedError: sbatch refuses.
    """
    answer = cluster.ask("sbatch", "--test-only", text=script)
    said = answer.stderr.strip() or answer.stdout.strip()
    if answer.returncode:
        raise SlurmRefusedError(f"sbatch refuses the script: {said}")
    return said


test_only.__test__ = False  # type: ignore[attr-defined]  # a verb of sbatch, no test


def need_sbatch() -> None:
    """Refuse where there is no Slurm.

    Raises:
        SlurmError: sbatch is not on the PATH.
    """
    if not cluster.has_slurm():
        raise SlurmError("sbatch is not on the PATH; submit from a login node, or look at the script with --dry-run.")


def _sbatch(script: Path) -> str:
    answer = cluster.ask("sbatch", "--parsable", str(script))
    if answer.returncode:
        raise SlurmRefusedError(f"sbatch refuses {script}: {answer.stderr.strip()}")
    return answer.stdout.strip().partition(";")[0]
