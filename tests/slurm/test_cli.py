"""The verbs of `bandloom slurm`, on the real cluster where they speak to one."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from cluster import Cluster
from conftest import small_profile
from trainers import BANDLOOM, Run, bandloom_slurm, toy

from bandloom.run_state.markers import read_marker
from bandloom.slurm.profile import Preflight

pytestmark = pytest.mark.timeout(900)


def answer(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [BANDLOOM, "slurm", *map(str, arguments)]
    return subprocess.run(command, text=True, capture_output=True, cwd=folder)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(small_profile(program=toy().program).to_yaml())
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return toy().write_config(tmp_path)


def test_a_dry_run_prints_the_very_script_that_a_submission_runs_and_writes_nothing(cluster, tmp_path, profile, config):
    run = tmp_path / "run"
    asked = ("submit", run, config, "--profile", profile, "--nodes", "2", "--time", "5m", "--verb", "toy")
    dry = answer(*asked, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not run.exists()
    assert "sbatch --test-only: sbatch: Job " in dry.stdout
    real = answer(*asked)
    assert real.returncode == 0, real.stderr
    script = (run / "slurm" / "job.sbatch").read_text()
    assert dry.stdout.startswith(script)
    cluster.wait(real.stdout.split()[1])


def test_a_run_is_submitted_watched_followed_and_read(cluster: Cluster, tmp_path, profile, config):
    run = tmp_path / "run"
    said = answer("submit", run, config, "trainer.steps=20", "--profile", profile, "--nodes", "2", "--verb", "toy")
    assert said.returncode == 0, said.stderr
    job = Run(run, re.search(r"job (\d+)", said.stdout)[1], cluster)
    again = answer("submit", run, config, "trainer.steps=20", "--profile", profile, "--verb", "toy")
    assert again.returncode == 2
    assert f"job {job.job_id}" in again.stderr
    assert job.end()["JobState"] == "COMPLETED"
    status = json.loads(bandloom_slurm("status", run, "--json"))
    assert (status["state"], status["step"], status["total"]) == ("done", 20, 20)
    assert [attempt["why"] for attempt in status["attempts"]] == ["done"]
    assert status["attempts"][0]["nodes"] == cluster.hosts(job.job_id)
    assert f"{job.job_id}.0] done" in bandloom_slurm("logs", run)
    assert answer("logs", run, "--rank", "3").returncode == 0
    assert "there is no log" in answer("logs", run, "--rank", "4").stderr
    assert f"no attempt '9.9'; it has {job.job_id}.0" in answer("logs", run, "--attempt", "9.9").stderr
    twice = answer("submit", run, config, "trainer.steps=20", "--profile", profile, "--verb", "toy")
    assert "is complete" in twice.stderr
    snapshot = json.loads((run / "slurm" / "code" / "SNAPSHOT.json").read_text())
    assert snapshot["version"]
    code = run / "slurm" / "code"
    assert sorted(path.name for path in code.iterdir()) == ["SNAPSHOT.json", "bandloom"]
    assert (code / "bandloom" / "slurm" / "templates" / "train.sbatch").is_file()
    assert not any(path.is_symlink() for path in code.rglob("*"))  # a copy: the links would lead back here
    assert (run / "slurm" / "config.yaml").read_text() == config.read_text()


def test_a_refusal_by_slurm_ends_with_3_and_one_by_us_with_2(cluster, tmp_path, config):
    for changes, code, sentence in (
        ({"sbatch": ["--constraint=nowhere"]}, 3, "sbatch refuses"),
        ({"partition": "mian"}, 2, "no partition 'mian'; the cluster has main, urgent. Did you mean 'main'?"),
        ({"cpus_per_rank": 4}, 2, "set cpus_per_rank: 2"),
        ({"time": "2h"}, 2, "is longer than partition main allows"),
    ):
        path = tmp_path / "profile.yaml"
        path.write_text(small_profile(program=toy().program, **changes).to_yaml())
        said = answer("submit", tmp_path / "run", config, "--profile", path, "--verb", "toy")
        assert said.returncode == code, said.stdout + said.stderr
        assert sentence in said.stderr
        assert not (tmp_path / "run" / "DONE").exists()


def test_what_the_trainer_refuses_is_not_submitted(cluster, tmp_path, profile, config):
    said = answer("submit", tmp_path / "run", config, "trainer.stps=3", "--profile", profile, "--verb", "toy")
    assert said.returncode == 2
    assert "the trainer refuses the config: the config has the unknown key 'stps'" in said.stderr
    assert not (tmp_path / "run").exists()


def test_a_waiting_run_is_stopped_before_it_starts(cluster, tmp_path, config):
    path = tmp_path / "profile.yaml"
    path.write_text(small_profile(program=toy().program, sbatch=["--begin=now+600"]).to_yaml())
    run = tmp_path / "run"
    said = answer("submit", run, config, "--profile", path, "--verb", "toy")
    assert "queued" in bandloom_slurm("status", run)
    assert "cancelled" in bandloom_slurm("stop", run)
    assert cluster.wait(re.search(r"job (\d+)", said.stdout)[1])["JobState"] == "CANCELLED"
    assert "stopped" in bandloom_slurm("status", run)


def test_check_says_which_nodes_pass(cluster, tmp_path):
    path = tmp_path / "profile.yaml"
    flight = Preflight(gpus=False, shm_gb=0, collective=True, command='test "$SLURMD_NODENAME" != n2')
    path.write_text(small_profile(preflight=flight).to_yaml())
    said = answer("check", "--profile", path, "--nodes", "3", "--folder", tmp_path / "checks")
    assert said.returncode == 1
    assert re.search(r"n1\s.*passes", said.stdout)
    assert re.search(r"n2\s.*FAILS.*the check of the profile failed", said.stdout), said.stdout
    assert "preflight failed on n2" in said.stdout


def test_status_of_a_folder_that_is_no_run_is_refused(tmp_path):
    said = answer("status", tmp_path)
    assert said.returncode == 2
    assert "is no run folder" in said.stderr
    assert "no submitted run below" in answer("status", folder=tmp_path).stderr


@pytest.mark.drill
def test_when_only_the_last_element_of_an_array_fails_it_alone_is_started_again(cluster, tmp_path):
    program = tmp_path / "work"
    program.write_text(f"""#!/bin/bash
part=${{*: -1}}
echo x >> {tmp_path}/ran.${{part%/*}}
[ "$part" != 3/3 ] || [ "$(wc -l < {tmp_path}/ran.3)" -gt 1 ]
""")
    program.chmod(0o755)
    path = tmp_path / "profile.yaml"
    path.write_text(small_profile(program=str(program)).to_yaml())
    said = answer("array", "--parts", "3", "--profile", path, "shards", "build", "--out", tmp_path / "tars")
    assert said.returncode == 0, said.stderr
    array = said.stdout.split()[1].rstrip(":")
    done = tmp_path / "tars.array" / "parts"
    cluster.wait_until(lambda: len(list(done.glob("*/DONE"))) == 3, 300, "three parts")
    assert [len((tmp_path / f"ran.{part}").read_text().split()) for part in (1, 2, 3)] == [1, 1, 2]
    assert read_marker(done / "DONE") is None
    assert cluster.job(f"{array}_0")["Restarts"] == "0"


def test_an_array_needs_a_place_for_its_logs(tmp_path):
    said = answer("array", "--parts", "2", "predict", "bundle")
    assert said.returncode == 2
    assert "name a place with --folder" in said.stderr
