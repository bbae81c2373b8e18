"""The rendered scripts: golden files (BANDLOOM_WRITE_GOLDEN=1 writes them anew), bash -n and shellcheck."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandloom.slurm.job import ArrayJob, TrainJob, job_name, parse_minutes, slurm_time
from bandloom.slurm.profile import Container, Preflight, Profile, load_profile
from bandloom.slurm.render import render_array, render_train

GOLDEN = Path(__file__).parent / "golden"
RUN = Path("/shared/runs/mae_l")
TRAIN = TrainJob(
    run=RUN,
    command=("pretrain", f"{RUN}/slurm/config.yaml", "trainer.steps=1000", "--out", str(RUN)),
    program=("/shared/v/bin/bandloom",),
    nodes=4,
    minutes=1440,
    folder=Path("/home/me/work"),
    code=RUN / "slurm" / "code",
)
ARRAY = ArrayJob(
    folder=Path("/shared/tars.array"),
    command=("shards", "build", "/data/two words", "--out", "/shared/tars"),
    program=("bandloom",),
    parts=16,
    at_once=4,
    minutes=60,
    working_folder=Path("/home/me/work"),
    code=Path("/shared/tars.array/code"),
)
APPTAINER = Profile(
    partition="gpu",
    container=Container(kind="apptainer", image="/shared/b.sif", mounts=("/data:/data",)),
    setup=("module load apptainer",),
    env={"NCCL_SOCKET_IFNAME": "ib0", "NOTE": "it's"},
    sbatch=("--mail-type=FAIL",),
)

SCRIPTS = {
    "plain": lambda: render_train(TRAIN, load_profile("plain")),
    "pyxis": lambda: render_train(TRAIN, load_profile("pyxis")),
    "fat_node": lambda: render_train(replace(TRAIN, nodes=1), load_profile("fat_node")),
    "apptainer": lambda: render_train(TRAIN, APPTAINER),
    "no_preflight": lambda: render_train(TRAIN, Profile(preflight=Preflight(enabled=False))),
    "check": lambda: render_train(replace(TRAIN, command=(), check_only=True), load_profile("plain")),
    "array": lambda: render_array(ARRAY, load_profile("fat_node")),
    "array_apptainer": lambda: render_array(replace(ARRAY, at_once=0), APPTAINER),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_rendered_script_is_the_golden_one(name):
    path = GOLDEN / f"{name}.sbatch"
    if os.environ.get("BANDLOOM_WRITE_GOLDEN") == "1":
        path.write_text(SCRIPTS[name]())
    assert SCRIPTS[name]() == path.read_text()


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_reads_a_rendered_script(name):
    assert subprocess.run(["bash", "-n"], input=SCRIPTS[name](), text=True, capture_output=True).stderr == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_has_nothing_to_say_of_a_rendered_script(name):
    if not shutil.which("shellcheck"):
        if os.environ.get("BANDLOOM_REQUIRE_SLURM") == "1":
            pytest.fail("no shellcheck: apt-get install shellcheck")
        pytest.skip("no shellcheck: apt-get install shellcheck")
    found = subprocess.run(["shellcheck", "-s", "bash", "-"], input=SCRIPTS[name](), text=True, capture_output=True)
    assert found.stdout == ""


@pytest.mark.parametrize("name", ["plain", "pyxis", "apptainer"])
def test_a_training_script_holds_every_mechanism(name):
    script = SCRIPTS[name]()
    for needed in (
        "--kill-on-bad-exit=1 --wait=60",
        "--signal=B:USR1@300",
        "#SBATCH --requeue",
        "--open-mode=append",
        "--dependency=singleton",
        "PYTHONSAFEPATH=1",
        'scontrol requeue "$ID"',
        "ulimit -c 0",
        "--cpus-per-task=",
        "SLURM_ARRAY_JOB_ID",
        "MASTER_PORT",
        "--signal=ABRT",
    ):
        assert needed in script, needed
    assert "torchrun" not in script
    assert "--gpus-per-task" not in script


def test_nccl_variables_come_from_the_profile_alone():
    assert "NCCL_SOCKET_IFNAME" not in SCRIPTS["plain"]()
    assert "export NCCL_SOCKET_IFNAME=ib0" in SCRIPTS["apptainer"]()
    script = render_train(TRAIN, Profile())
    assert not re.findall(r"\bNCCL_\w*=", script)


def test_the_container_wraps_the_ranks_alone_and_mounts_the_run():
    script = SCRIPTS["pyxis"]()
    assert script.count("--container-image=") == 2  # all-reduce and ranks
    assert f"{RUN}:{RUN}" in script
    assert "container" not in "".join(line for line in script.splitlines() if line.startswith("#SBATCH"))


def test_ports_stay_below_the_ephemeral_range_and_change_with_every_restart():
    line = next(line for line in SCRIPTS["plain"]().splitlines() if line.startswith("PORT="))
    ports = []
    for job, restart in ((1, 0), (1, 1), (2**31, 7), (99999, 100)):
        bash = f"SLURM_JOB_ID={job} RESTART={restart}; {line}; echo $PORT"
        ports.append(int(subprocess.run(["bash", "-c", bash], capture_output=True, text=True, check=True).stdout))
    assert len(set(ports)) == 4
    assert all(10000 <= port <= 29998 for port in ports)


@given(st.text(st.characters(exclude_characters="\0\n", codec="utf-8"), min_size=1, max_size=30))
def test_any_argument_reaches_the_command_as_it_was_typed(argument):
    script = render_train(replace(TRAIN, command=("pretrain", argument)), Profile())
    line = next(line for line in script.split("\n") if line.startswith("COMMAND="))
    shown = subprocess.run(["bash", "-c", f'{line}\nprintf %s "${{COMMAND[1]}}"'], capture_output=True)
    assert shown.stdout.decode() == argument


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90m", 90),
        ("24h", 1440),
        ("2d", 2880),
        ("30s", 1),
        ("1.5h", 90),
        ("60", 60),
        ("1:30", 2),
        ("2:00:00", 120),
        ("1-12:00:00", 2160),
        ("1-12", 2160),
        ("0:01", 1),
    ],
)
def test_times_are_read_as_people_and_slurm_write_them(text, minutes):
    assert parse_minutes(text) == minutes


@given(st.integers(1, 100_000))
def test_a_written_time_reads_back(minutes):
    assert parse_minutes(slurm_time(minutes)) == minutes


def test_every_verb_counts_its_parts_from_one():
    assert "PART=$((SLURM_ARRAY_TASK_ID + 1))/16" in SCRIPTS["array"]()
    script = render_array(replace(ARRAY, command=("predict", "bundle", "scenes", "--out", "maps")), Profile())
    assert "PART=$((SLURM_ARRAY_TASK_ID + 1))/16" in script


def test_two_run_folders_of_one_name_have_two_job_names():
    assert job_name(Path("/a/run")) != job_name(Path("/b/run"))
    assert job_name(Path("/a/my run")).startswith("bandloom-my-run-")
