"""The table of what is refused before sbatch is asked: each case a sentence with what to write instead."""

import os
from pathlib import Path

import pytest

from bandloom.errors import SlurmError
from bandloom.run_state.markers import RunMarkers
from bandloom.slurm import cluster, submit, validate
from bandloom.slurm.profile import Profile
from bandloom.slurm.records import Job, Node, Partition
from bandloom.slurm.run_record import write_record

PARTITIONS = [
    Partition("gpu", 2880, 4, True, "UP"),
    Partition("long", None, None, False, "UP"),
    Partition("old", 60, None, False, "DOWN"),
]
NODES = [
    Node(f"n{i}", 64, 512_000, 8, frozenset({"a100"}), frozenset({"gpu", "long", "old"}), "IDLE") for i in range(1, 7)
]
NODES += [Node("small", 16, 64_000, 0, frozenset(), frozenset({"gpu"}), "IDLE")]
FITS = {"partition": "gpu", "gpus_per_node": 8, "cpus_per_rank": 8}


def on_cluster(nodes: int = 2, minutes: int = 600, **changes: object) -> list[str]:
    return list(
        validate.cluster_problems(Profile.model_validate({**FITS, **changes}), nodes, minutes, PARTITIONS, NODES)
    )


def test_what_fits_is_let_through():
    assert on_cluster() == []
    assert on_cluster(partition=None) == []


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"partition": "gpuu"}, r"no partition 'gpuu'; the cluster has gpu, long, old\. Did you mean 'gpu'\?"),
        ({"minutes": 4000}, r"time limit 2-18:40:00 is longer than partition gpu allows.*--time 2880m, or .*long"),
        ({"nodes": 5}, r"5 nodes are more than partition gpu gives a job; use --nodes 4"),
        ({"partition": "old", "minutes": 30}, r"partition old is down; choose another"),
        ({"exclude": "n[1,9]"}, r"excludes the unknown node 'n9'; correct exclude"),
        ({"gpus_per_node": 16}, r"no node has 16 GPUs, the most is 8; set gpus_per_node: 8"),
        ({"gpu_type": "h100"}, r"no node has GPUs of type 'h100'; the cluster has a100"),
        ({"cpus_per_rank": 16}, r"8 ranks x 16 cores need 128 CPUs a node, the most is 64; set cpus_per_rank: 8"),
        ({"memory": "900G"}, r"no node has 900G of memory, the most is 512000M; set memory: 512000M, or 0"),
        ({"partition": "long", "nodes": 9}, r"9 such nodes do not exist, only 6; use --nodes 6"),
    ],
)
def test_what_the_cluster_cannot_give_is_said_with_what_it_can(asked, sentence):
    found = on_cluster(**asked)
    assert len(found) == 1
    assert __import__("re").search(sentence, found[0]), found[0]


def test_memory_that_is_no_memory_is_refused():
    with pytest.raises(SlurmError, match="memory 'lots' is not understood; write 200G"):
        on_cluster(memory="lots")


def test_a_global_batch_that_does_not_divide_names_nodes_and_a_batch_that_would():
    (said,) = validate.batch_problems(1024, Profile(gpus_per_node=8), 3)
    assert "1024 does not divide over 3 nodes x 8 ranks = 24" in said
    assert "--nodes 2 or 4" in said
    assert "batch_size=1032" in said
    assert list(validate.batch_problems(1024, Profile(gpus_per_node=8), 4)) == []
    assert list(validate.batch_problems(None, Profile(), 3)) == []


def test_a_batch_that_no_number_of_nodes_divides_is_said():
    (said,) = validate.batch_problems(3, Profile(gpus_per_node=8), 1)
    assert "choose a batch that 8 divides" in said


def test_a_save_asked_for_before_half_time_is_refused():
    (said,) = validate.time_problems(Profile(signal_lead_s=300), 5)
    assert "set signal_lead_s to at most 150" in said
    assert list(validate.time_problems(Profile(signal_lead_s=300), 10)) == []


def test_the_global_batch_is_found_in_the_config_and_its_overrides():
    config = {"trainer": {"batch_size": 64, "steps": 10}}
    assert validate.global_batch(config, []) == 64
    assert validate.global_batch(config, ["trainer.batch_size=128"]) == 128
    assert validate.global_batch({}, []) is None


@pytest.mark.parametrize("name", ["a b", "a'b", "a%j", "a\nb", "a;b"])
def test_a_run_folder_that_scripts_trip_over_is_refused(tmp_path, name):
    (said,) = validate.folder_problems(tmp_path / name, Profile(), 1)
    assert "choose a path of letters" in said


def test_a_run_folder_of_this_machine_alone_is_refused_for_two_nodes(tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "file_system", lambda path: "ext4")
    (said,) = validate.folder_problems(tmp_path / "run", Profile(), 2)
    assert "file system of this machine alone (ext4)" in said
    assert "shared_paths" in said
    assert list(validate.folder_problems(tmp_path / "run", Profile(), 1)) == []
    assert list(validate.folder_problems(tmp_path / "run", Profile(shared_paths=(str(tmp_path),)), 2)) == []
    monkeypatch.setattr(validate, "file_system", lambda path: "lustre")
    assert list(validate.folder_problems(tmp_path / "run", Profile(), 2)) == []


def test_the_file_system_of_a_path_is_known():
    assert validate.file_system(Path("/proc/self")) == "proc"


def test_a_run_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (said,) = validate.folder_problems(tmp_path / "file" / "run", Profile(), 1)
    assert "cannot be written" in said


def test_a_complete_run_and_a_stopped_one_are_not_started_again(tmp_path):
    RunMarkers(tmp_path, "1.0").claim()
    RunMarkers(tmp_path, "1.0").write_end("done", 10)
    (said,) = validate.run_problems(tmp_path, None, [])
    assert "is complete" in said
    (tmp_path / "DONE").unlink()
    (tmp_path / "KILL").touch()
    (said,) = validate.run_problems(tmp_path, None, [])
    assert f"bandloom slurm resume {tmp_path}" in said


def test_a_live_job_of_the_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "has_slurm", lambda: True)
    monkeypatch.setattr(cluster, "queued_jobs", lambda name: [Job("77", "PENDING")])
    (said,) = validate.run_problems(tmp_path, None, [])
    assert "job 77 (pending) works on" in said
    assert "bandloom slurm stop" in said


def test_another_config_is_refused_with_the_difference(tmp_path):
    profile = Profile(gpus_per_node=1)
    config = tmp_path / "c.yaml"
    config.write_text("trainer: {steps: 10, seed: 1}\n")
    planned = submit.plan(tmp_path / "run", config, profile, overrides=["size=S"])
    (tmp_path / "run" / "slurm").mkdir(parents=True)
    (tmp_path / "run" / "slurm" / "config.yaml").write_text(config.read_text())
    write_record(tmp_path / "run", submit.record_of(planned, ["1"]))
    same = validate.run_problems(tmp_path / "run", {"trainer": {"steps": 10, "seed": 1}}, ["size=S"])
    assert list(same) == []
    (said,) = validate.run_problems(tmp_path / "run", {"trainer": {"steps": 20, "seed": 1}}, ["size=S"])
    assert "- trainer.steps: 10" in said
    assert "+ trainer.steps: 20" in said
    assert "seed" not in said


def test_what_the_trainer_says_of_its_config_is_passed_on(tmp_path):
    trainer = tmp_path / "trainer"
    trainer.write_text("#!/bin/sh\necho 'error: the config lacks the key shards; add it.' >&2\nexit 2\n")
    trainer.chmod(0o755)
    config = tmp_path / "c.yaml"
    config.write_text("{}\n")
    planned = submit.plan(tmp_path / "run", config, Profile(gpus_per_node=1, program=str(trainer)))
    said = list(validate.trainer_problems(planned.job, ("pretrain", str(config)), dict(os.environ)))
    assert said == ["the trainer refuses the config: the config lacks the key shards; add it."]
    trainer.write_text('#!/bin/sh\ntest "$4" = --dry-run || test "$3" = --dry-run\n')
    assert list(validate.trainer_problems(planned.job, ("pretrain", str(config)), dict(os.environ))) == []


def test_a_trainer_that_is_not_there_is_said(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("{}\n")
    planned = submit.plan(tmp_path / "run", config, Profile(gpus_per_node=1, program="/nowhere/bandloom"))
    (said,) = validate.trainer_problems(planned.job, ("pretrain", str(config)), dict(os.environ))
    assert "see the profile's program" in said


def test_a_config_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(SlurmError, match="cannot be read"):
        validate.read_config(tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(SlurmError, match="holds a list"):
        validate.read_config(tmp_path / "list.yaml")


def test_without_sbatch_nothing_is_submitted(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "has_slurm", lambda: False)
    with pytest.raises(SlurmError, match="sbatch is not on the PATH; submit from a login node"):
        submit.need_sbatch()


def test_what_an_enclosing_job_left_in_the_environment_is_stripped():
    inside = {
        "SLURM_JOB_ID": "1",
        "SBATCH_PARTITION": "x",
        "SLURM_CONF": "/etc/s",
        "RANK": "3",
        "PMIX_RANK": "1",
        "HOME": "/root",
        "BANDLOOM_ATTEMPT": "1.0",
        "CUDA_HOME": "/cuda",
    }
    assert cluster.clean_environment(inside) == {"SLURM_CONF": "/etc/s", "HOME": "/root", "CUDA_HOME": "/cuda"}
