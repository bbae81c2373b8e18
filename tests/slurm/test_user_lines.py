"""A profile's own lines, odd folders and secrets, on a real Slurm."""

import os
import shlex
import stat
from pathlib import Path

import pytest
from cluster import Cluster
from conftest import attempts, small_profile
from trainers import Run, bandloom_slurm

from bandloom.errors import SlurmError, SlurmRefusedError
from bandloom.slurm.job import ArrayJob
from bandloom.slurm.profile import Profile
from bandloom.slurm.submit import check, plan, submit, submit_array
from bandloom.slurm.validate import setup_problems, working_folder_problems

pytestmark = pytest.mark.timeout(900)

SECRETS = {
    "GCP_CREDENTIALS": '{\n "private_key": "-----BEGIN PRIVATE KEY-----\nMIIEnot-real\n-----END PRIVATE KEY-----"\n}',
    "DATABASE_URL": "postgres://user:pass-not-real@host/db",
    "GITHUB_PAT": "ghp_not-real",
    "REGISTRY_AUTH": "auth-not-real",
    "SLURM_JWT": "jwt-not-real",
    "NETRC": "line one\nOMP_FAKE=second-line-not-real",
    "AWS_SESSION": "aws-not-real",
    "LC_API_TOKEN": "lc-not-real",
    "DS_API_KEY": "ds-not-real",
    "CUDA_REGISTRY_PASSWORD": "cuda-not-real",
    "UCX_AUTH": "ucx-not-real",
    "NCCL_CREDENTIALS": "nccl-not-real",
    "OMP_SECRET": "omp-not-real",
    "GDAL_HTTP_HEADERS": "Authorization: Bearer bearer-not-real",
}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A program that keeps a run's promises: it writes down where and with what it ran, and that it is done."""
    program = tmp_path / "work"
    program.write_text("""#!/bin/bash
case "$*" in *--dry-run*) exit 0 ;; esac
while [ "$1" != --out ]; do shift; done
{ pwd; env; } > "$2/seen"
echo '{"reason": "done", "step": 1, "code": 0}' > "$2/attempts/$BANDLOOM_ATTEMPT/end"
""")
    program.chmod(0o755)
    (tmp_path / "config.yaml").write_text("steps: 1\n")
    return program


def launch(cluster: Cluster, work: Path, run: Path, **changes: object) -> Run:
    profile = small_profile(program=str(work), gpus_per_node=1, max_failures=1, **changes)
    planned = plan(run, work.parent / "config.yaml", profile, time="5m")
    check(planned)
    return Run(run, submit(planned), cluster)


def test_setup_lines_run_as_on_a_command_line_and_leave_nothing_behind(cluster: Cluster, work: Path, tmp_path: Path):
    setup = [
        'echo "home of nothing: $NAME_THAT_IS_NOT_SET"',  # conda's and Lmod's own scripts do so
        "if false; then",
        "  exit 1",
        "fi",
        "false | true; cd / && false || cd - > /dev/null",
        "export FROM_SETUP='a value' IFS=,",
        "set -eax -o pipefail",
        "set -C; shopt -s expand_aliases nocasematch failglob",
        "alias cat='cat -n' grep='grep --color=always' mv='mv -i' cd=false",
        "NODES=nowhere log=taken CODE=kept; export CODE",
        "\\cd /; true \\",
    ]
    run = launch(cluster, work, tmp_path / "run", setup=setup)
    assert run.end()["JobState"] == "COMPLETED", run.log
    assert attempts(run.folder)[f"{run.job_id}.0"]["why"] == "done"
    seen = (run.folder / "seen").read_text().splitlines()
    assert seen[0] == str(Path.cwd())
    assert {"FROM_SETUP=a value", "CODE=kept"} <= set(seen)
    assert "home of nothing: " in run.log


DEATHS = {
    "exit": ("exit 3", "the profile's setup failed with code 3, at: exit 3"),
    "own-e": ("set -e; module_that_is_missing load cuda", "the profile's setup failed with code 127, at: module_that"),
    "own-u": ("set -u; echo $NAME_THAT_IS_NOT_SET", "the profile's setup failed with code 1, at: echo $NAME_THAT"),
    "needed": (': "${LICENCE:?ask for one}"', "the profile's setup failed with code 1, at: : "),
    "ended": ("kill -TERM $$", "the profile's setup was ended from outside, at: kill -TERM $$"),
    "replaced": ("exec bash -c 'echo gone; exit 4'", "it left no reason; slurm/job.log ends: gone"),
    "path": ("export PATH=/nowhere", "the profile's setup leaves no awk on the PATH: /nowhere"),
    "read-only": ("readonly DIR=/data", "the profile's setup makes DIR read-only, which this script sets"),
    "no-ranks": ("srun() { return 9; }", "the ranks ended with code 9 and no end marker"),
    "note": (
        "module_that_is_missing load cuda; srun() { return 9; }",
        "a setup line had failed: module_that_is_missing",
    ),
}


def test_whatever_dies_before_the_ranks_has_a_reason_in_status(cluster: Cluster, work: Path, tmp_path: Path):
    runs = {name: launch(cluster, work, tmp_path / name, setup=[line]) for name, (line, _) in DEATHS.items()}
    for name, run in runs.items():
        assert run.end()["JobState"] in {"FAILED", "CANCELLED"}, run.log
        said = " ".join(bandloom_slurm("status", run.folder).split())
        assert "failed" in said
        assert DEATHS[name][1] in said, run.log
        assert "running" not in said
    assert not (tmp_path / "exit" / "seen").exists()


def test_a_failed_node_list_is_a_reason_too(cluster: Cluster, work: Path, tmp_path: Path):
    run = launch(cluster, work, tmp_path / "run", setup=["scontrol() { return 1; }"])
    run.end()
    assert "scontrol does not answer on n" in bandloom_slurm("status", run.folder)


def test_the_environment_that_is_kept_holds_no_secret(
    cluster: Cluster, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NCCL_DEBUG", "a value\nof two lines")
    run = launch(cluster, work, tmp_path / "run", env={"MY_API": "profile-not-real"})
    assert run.end()["JobState"] == "COMPLETED", run.log
    kept = run.folder / "attempts" / f"{run.job_id}.0" / "env.txt"
    text = kept.read_text()
    assert "not-real" not in text
    assert "second-line" not in text
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    for line in text.splitlines():
        name, equals, _ = line.partition("=")
        assert equals
        assert name.isidentifier()
    assert f"SLURM_JOB_ID={run.job_id}" in text.splitlines()
    assert r"NCCL_DEBUG=$'a value\nof two lines'" in text.splitlines()
    for path in run.folder.rglob("*"):  # nor does anything else that other users may read
        if path.is_file() and path.name != "seen" and b"not-real" in path.read_bytes():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


ODD = [
    "two words",
    "it's",
    'say "so"',
    "a#b",
    "50%j",
    "back\\slash",
    "$HOME",
    "(brackets)",
    "a,b:c",
    "ü",
    "-dash",
    "a;b&c",
]


def test_the_working_folder_may_have_any_name(
    cluster: Cluster, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    runs = {}
    for number, name in enumerate(ODD):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        runs[folder] = launch(cluster, work, tmp_path / f"run{number}")
    for folder, run in runs.items():
        assert run.end()["JobState"] == "COMPLETED", run.log
        assert (run.folder / "seen").read_text().splitlines()[0] == str(folder)


def test_an_array_takes_an_odd_working_folder_and_refuses_an_odd_own_one(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / 'two "words" #1'
    folder.mkdir()
    program = f"bash -c {shlex.quote(f'pwd > {tmp_path}/where')} --"
    profile = small_profile(program=program, setup=["set -e", "set -u", "IFS=:"])
    job = ArrayJob(tmp_path / "parts", ("x",), tuple(shlex.split(program)), 1, 0, 5, folder, tmp_path / "parts/code")
    job_id = submit_array(job, profile)
    assert cluster.wait(f"{job_id}_0")["JobState"] == "COMPLETED", (tmp_path / "parts/parts/0.log").read_text()
    assert (tmp_path / "where").read_text().strip() == str(folder)
    odd = ArrayJob(tmp_path / "a b", ("x",), ("true",), 1, 0, 5, folder, tmp_path / "a b/code")
    with pytest.raises(SlurmError, match=r"the array's folder '.*a b' has characters"):
        submit_array(odd, profile)
    assert not (tmp_path / "a b").exists()


@pytest.mark.parametrize(
    "line", ["echo 'without an end", "if true; then", "fi", "f() {", "echo $(", "case x in", "cat << EOF"]
)
def test_setup_that_is_no_bash_is_refused(line: str):
    [said] = setup_problems(small_profile(setup=["true", line]))
    assert said.startswith("the profile's setup is no bash by itself (")
    assert "line " in said


def test_a_folder_that_no_line_can_name_is_refused():
    [said] = working_folder_problems(Path("/home/two\nlines"), small_profile())
    assert "has the character '\\n'" in said
    boxed = small_profile(container={"kind": "apptainer", "image": "/x.sif"})
    [said] = working_folder_problems(Path("/home/a:b"), boxed)
    assert "a colon or a comma" in said
    assert not list(working_folder_problems(Path("/home/a:b"), small_profile()))
    assert not list(setup_problems(small_profile(setup=["if true; then", "  module load x", "fi"])))


def test_what_slurm_refuses_leaves_no_run_folder_behind(cluster: Cluster, work: Path, tmp_path: Path):
    profile = small_profile(program=str(work), sbatch=["--constraint=nowhere"])
    planned = plan(tmp_path / "run", work.parent / "config.yaml", profile)
    with pytest.raises(SlurmRefusedError):
        submit(planned)
    assert not (tmp_path / "run").exists()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine").touch()
    with pytest.raises(SlurmRefusedError):
        submit(plan(tmp_path / "kept", work.parent / "config.yaml", profile))
    assert (tmp_path / "kept" / "mine").exists()


@pytest.mark.parametrize(
    ("changes", "private"),
    [
        ({}, False),
        ({"env": {"NCCL_SOCKET_IFNAME": "ib0"}, "setup": ["module load cuda", "export PATH=/x:$PATH"]}, False),
        ({"env": {"WANDB_API": "x"}}, True),
        ({"setup": ["export HF_TOKEN=abc"]}, True),
        ({"setup": ["module load cuda; TOKEN=abc"]}, True),
    ],
)
def test_a_profile_that_may_hold_secrets_is_told(changes: dict[str, object], private: bool):
    assert Profile.model_validate(changes).may_hold_secrets is private


def test_the_process_keeps_its_umask(cluster: Cluster, work: Path, tmp_path: Path):
    before = os.umask(0o027)
    try:
        run = launch(cluster, work, tmp_path / "run", env={"TOKEN": "x"})
        assert os.umask(0o027) == 0o027
        assert stat.S_IMODE((run.folder / "slurm/job.sbatch").stat().st_mode) == 0o600
    finally:
        os.umask(before)
    run.end()
