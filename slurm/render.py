"""Renders a job and a profile as the batch script: pure functions, one text for ``--dry-run`` and ``submit``."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from string import Template

from bandloom.slurm.job import ArrayJob, TrainJob, slurm_time
from bandloom.slurm.profile import Profile

_TEMPLATES = Path(__file__).parent / "templates"


class _BashTemplate(Template):
    """Placeholders are ``@@{name}``: a dollar sign belongs to bash."""

    delimiter = "@@"


def render_train(job: TrainJob, profile: Profile) -> str:
    """Return the batch script of a run (or, with ``check_only``, of its preflight alone)."""
    folders = (job.run, job.folder)
    ranks = _fill(
        "ranks.bash",
        command=shlex.join(job.command),
        cpus_per_rank=profile.cpus_per_rank,
        tasks_per_node=profile.tasks_per_node,
        srun=_srun_options(profile, folders),
        wrapper=_wrapper(profile, folders),
        hang_s=profile.hang_s,
        save_s=max(profile.signal_lead_s // 2, profile.signal_lead_s - 45),  # USR1 may come late itself
        startup_s=profile.startup_s,
    )
    return _fill(
        "train.sbatch",
        title=f"bandloom {job.command[0]} -> {job.run}" if job.command else "bandloom slurm check",
        header=_lines(_train_header(job, profile)),
        run=shlex.quote(str(job.run)),
        program=shlex.join(job.program),
        code=shlex.quote(str(job.code)),
        setup=_setup(profile),
        working_folder=shlex.quote(str(job.folder)),
        cpus_per_rank=profile.cpus_per_rank,
        max_requeues=profile.max_requeues,
        max_failures=profile.max_failures,
        preflight=_preflight(job, profile),
        ranks="" if job.check_only else ranks,
    )


def render_array(job: ArrayJob, profile: Profile) -> str:
    """Return the batch script of an array: one part an element, each requeued by its own array id."""
    cpus = profile.cpus_per_rank
    header = [
        f"--job-name={job.name}",
        f"--array=0-{job.parts - 1}{f'%{job.at_once}' if job.at_once else ''}",
        f"--nodes=1 --ntasks=1 --cpus-per-task={cpus}",
        f"--time={slurm_time(job.minutes)}",
        "--requeue --open-mode=append",
        f"--output={_sbatch_word(job.folder)}/parts/%a.log",
        f"--chdir={_sbatch_word(job.working_folder)}",
        *_place(profile),
    ]
    return _fill(
        "array.sbatch",
        title=f"bandloom {' '.join(job.command[:2])} in {job.parts} parts -> {job.folder}",
        header=_lines(f"#SBATCH {option}" for option in header),
        folder=shlex.quote(str(job.folder)),
        program=shlex.join(job.program),
        command=shlex.join(job.command),
        code=shlex.quote(str(job.code)),
        setup=_setup(profile),
        working_folder=shlex.quote(str(job.working_folder)),
        parts=job.parts,
        cpus=cpus,
        srun=_srun_options(profile, (job.folder, job.working_folder)),
        wrapper=_wrapper(profile, (job.folder, job.working_folder)),
        max_failures=profile.max_failures,
    )


def _fill(template: str, **values: object) -> str:
    return _BashTemplate((_TEMPLATES / template).read_text()).substitute(values)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _train_header(job: TrainJob, profile: Profile) -> list[str]:
    options = [
        f"--job-name={job.name}",
        f"--nodes={job.nodes} --ntasks-per-node={profile.tasks_per_node} --cpus-per-task={profile.cpus_per_rank}",
        *_gpus(profile),
        f"--mem={profile.memory}",
        *(["--exclusive"] if profile.exclusive else []),
        f"--time={slurm_time(job.minutes)} --signal=B:USR1@{profile.signal_lead_s}",
        "--no-requeue" if job.check_only else "--requeue",
        f"--open-mode=append --output={_sbatch_word(job.run)}/slurm/job.log",
        "--dependency=singleton",
        f"--chdir={_sbatch_word(job.folder)}",
        *_place(profile),
    ]
    return [f"#SBATCH {option}" for option in options]


def _sbatch_word(path: Path) -> str:
    """Return a path as one word of an ``#SBATCH`` line: a plain one as it is, another in double quotes."""
    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9/._+=@:,-]+", text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _gpus(profile: Profile) -> list[str]:
    """GPUs by node, never by task: a task that sees one GPU alone cannot use its local rank as the device."""
    if not profile.gpus_per_node:
        return []
    kind = f"{profile.gpu_type}:" if profile.gpu_type else ""
    if profile.gpu_request == "gres":
        return [f"--gres=gpu:{kind}{profile.gpus_per_node}"]
    return [f"--gpus-per-node={kind}{profile.gpus_per_node}"]


def _place(profile: Profile) -> list[str]:
    keys = ("partition", "account", "qos", "constraint", "reservation", "exclude")
    chosen = [(key, getattr(profile, key)) for key in keys]
    return [f"--{key}={shlex.quote(value)}" for key, value in chosen if value] + list(profile.sbatch)


def _setup(profile: Profile) -> str:
    """Return the profile's own lines, and an empty one: a backslash at their end does not reach beyond it."""
    lines = [*profile.setup, *(f"export {name}={shlex.quote(value)}" for name, value in profile.env.items())]
    return _lines([*lines, "", ""]) if lines else ""


def _mounts(profile: Profile, folders: Iterable[Path]) -> list[str]:
    added = dict.fromkeys(f"{folder}:{folder}" for folder in folders)
    return [*added, *(mount for mount in profile.container.mounts if mount not in added)]


def _srun_options(profile: Profile, folders: Iterable[Path]) -> str:
    """Options of the ranks' srun: the profile's, and pyxis's where it starts the container."""
    options = list(profile.srun)
    if profile.container.kind == "pyxis":
        options += [
            f"--container-image={shlex.quote(profile.container.image)}",
            f"--container-mounts={shlex.quote(','.join(_mounts(profile, folders)))}",
        ]
    return "".join(f"{option} " for option in options)


def _wrapper(profile: Profile, folders: Iterable[Path]) -> str:
    """What stands before the command where apptainer starts the container."""
    if profile.container.kind != "apptainer":
        return ""
    binds = ",".join(_mounts(profile, folders))
    nv = "--nv " if profile.gpus_per_node else ""
    return f"apptainer exec {nv}--bind {shlex.quote(binds)} {shlex.quote(profile.container.image)} "


def _preflight(job: TrainJob, profile: Profile) -> str:
    flight = profile.preflight
    if not flight.enabled and not job.check_only:
        return ""
    return _fill(
        "preflight.bash",
        checks=_lines(f"  {check}" for check in _node_checks(job, profile)),
        timeout_s=flight.timeout_s,
        on_bad=_on_bad(job),
        collective=_collective(job, profile) if flight.collective else "# (the profile asks for no all-reduce)",
        enough='because "preflight passed"\nexit 0' if job.check_only else 'log "preflight passed"',
    )


def _on_bad(job: TrainJob) -> str:
    if job.check_only:
        return 'because "preflight failed on ${BAD[*]}"; exit 1'
    return 'again "preflight failed on ${BAD[*]}" "$(IFS=,; echo "${BAD[*]}")"'


def _node_checks(job: TrainJob, profile: Profile) -> list[str]:
    flight = profile.preflight
    checks = []
    if flight.gpus and profile.gpus_per_node:
        checks += [
            'count=$(nvidia-smi --query-gpu=index --format=csv,noheader | wc -l) || bad "nvidia-smi does not answer"',
            f'[ "$count" -ge {profile.gpus_per_node} ] || bad "$count GPUs, expected {profile.gpus_per_node}"',
            "nvidia-smi --query-gpu=ecc.errors.uncorrected.volatile.total --format=csv,noheader | "
            'grep -E "^[1-9]" && bad "uncorrected ECC errors"',
        ]
    if flight.shm_gb:
        kib = int(flight.shm_gb * 1e9 / 1024)
        checks += [
            "free=$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')",
            f'[ "${{free:-0}}" -ge {kib} ] || bad "/dev/shm has ${{free:-0}} KiB free, expected {kib}"',
        ]
    for path in dict.fromkeys((str(job.folder), str(job.code), *flight.paths)):
        checks.append(f"[ -r {shlex.quote(path)} ] || bad {shlex.quote(path + ' cannot be read')}")
    checks += [
        "skew=$(($(date +%s) - STARTED))",
        f'[ "${{skew#-}}" -le {flight.clock_skew_s} ] || bad "its clock is $skew s from the first node\'s"',
    ]
    if flight.command:
        checks.append(f"({flight.command}) || bad {shlex.quote('the check of the profile failed: ' + flight.command)}")
    return checks


def _collective(job: TrainJob, profile: Profile) -> str:
    flight = profile.preflight
    folders = (job.run, job.folder)
    why = f'"preflight: the all-reduce failed or is below {flight.min_gb_s:g} GB/s: $(tail -n 1 "$DIR/all-reduce.log")"'
    action = f"{{ because {why}; exit 1; }}" if job.check_only else f"failed {why}"
    return (
        f"MASTER_PORT=$((PORT + 1)) timeout {flight.timeout_s} srun --kill-on-bad-exit=1 --wait=60 "
        f'--cpus-per-task={profile.cpus_per_rank} --output="$DIR/all-reduce.log" {_srun_options(profile, folders)}\\\n'
        f'  {_wrapper(profile, folders)}"${{PROGRAM[@]}}" slurm all-reduce --min-gb-s {flight.min_gb_s:g} ||\n'
        f"  {action}\n"
        'log "all-reduce: $(grep -m 1 GB/s "$DIR/all-reduce.log")"'
    )
