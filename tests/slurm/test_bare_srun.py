"""Several processes that know nothing of each other never train in one folder: a real srun, and what mpirun sets."""

import os
import subprocess
import sys

import pytest
from cluster import Cluster

from bandloom.errors import ConfigError
from bandloom.training.ranks import Ranks

ASK = f"{sys.executable} -c 'from bandloom.training.ranks import Ranks; print(Ranks.from_environment().world)'"


def test_srun_of_two_bare_processes_is_refused(cluster: Cluster):
    said = cluster.sh("bash", "-c", f"srun -n2 {ASK}")
    assert said.returncode != 0
    assert "ConfigError: this is process 0 of 2 that srun started, and RANK" in said.stderr
    assert "ConfigError: this is process 1 of 2" in said.stderr


@pytest.mark.drill
def test_srun_of_one_process_and_a_batch_script_of_several_tasks_are_one_process(cluster: Cluster, tmp_path):
    assert cluster.sh("bash", "-c", f"srun -n1 {ASK}").stdout.strip() == "1"
    out = tmp_path / "out"
    job = cluster.sh("sbatch", "--parsable", "-n2", "-o", str(out), "--wrap", f"{ASK}; srun -n1 {ASK}").stdout.strip()
    assert cluster.wait(job)["JobState"] == "COMPLETED"
    assert out.read_text().split() == ["1", "1"]


@pytest.mark.drill
def test_srun_with_the_names_set_is_a_run_of_two_ranks(cluster: Cluster):
    names = "export RANK=$SLURM_PROCID LOCAL_RANK=0 WORLD_SIZE=$SLURM_NTASKS MASTER_ADDR=x MASTER_PORT=1"
    said = cluster.sh("bash", "-c", f'srun -n2 bash -c "{names.replace("$", chr(92) + "$")}; {ASK}"')
    assert said.stdout.split() == ["2", "2"], said.stderr


@pytest.mark.parametrize("size", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_mpirun_of_bare_processes_is_refused(monkeypatch: pytest.MonkeyPatch, size: str):
    monkeypatch.setenv(size, "2")
    with pytest.raises(ConfigError, match=r"of 2 that mpirun"):
        Ranks.from_environment()
    monkeypatch.setenv(size, "1")
    assert Ranks.from_environment().world == 1


@pytest.mark.parametrize("name", ["MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"])
def test_names_that_batch_scripts_export_make_no_rank(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "0")
    assert Ranks.from_environment().world == 1
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(ConfigError, match=r"of 2 that srun started, and RANK and WORLD_SIZE are not set"):
        Ranks.from_environment()


@pytest.mark.drill
def test_pretraining_under_a_bare_srun_writes_no_run(cluster: Cluster, shards, tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(f"shards: {shards}\nsize: demo\ncrop_px: 60\ntrainer: {{steps: 2, batch_size: 2, workers: 0}}\n")
    command = [sys.executable, "-m", "bandloom.cli", "pretrain", str(config), "--out", str(tmp_path / "run")]
    said = subprocess.run(
        ["srun", "-n2", *command],
        env={**cluster.environment, **os.environ},
        text=True,
        capture_output=True,
        check=False,
    )
    assert said.returncode != 0
    assert "each would train by itself in the same run folder" in said.stderr
    assert not (tmp_path / "run").exists()
