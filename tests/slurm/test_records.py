from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandloom.slurm.records import (
    expand_nodes,
    fields,
    parse_accounting,
    parse_job,
    parse_node,
    parse_partition,
    parse_queue,
)

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = ["20.02", "21.08", "23.11", "24.11"]


def lines(version: str) -> list[str]:
    return (RECORDED / f"slurm-{version}.txt").read_text().splitlines()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_job_reads_the_same_whatever_version_shows_it(version):
    job = parse_job(lines(version)[0])
    assert job is not None
    assert (job.job_id, job.state, job.reason, job.nodes) == ("4242", "RUNNING", "", "n[1-2,5-6]")
    assert (job.restarts, job.excluded, job.expected_start) == (2, "n[3-4]", "2026-11-20T10:47:20")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_node_reads_the_same_whatever_version_shows_it(version):
    node = parse_node(lines(version)[1])
    assert node is not None
    assert (node.name, node.cpus, node.memory_mb, node.gpus) == ("n1", 64, 512000, 8)
    assert node.gpu_types == {"a100"}
    assert node.partitions == {"gpu", "debug"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_partition_reads_the_same_whatever_version_shows_it(version):
    partition = parse_partition(lines(version)[2])
    assert partition is not None
    assert (partition.name, partition.max_minutes, partition.max_nodes) == ("gpu", 2880, 16)
    assert partition.default
    assert partition.state == "UP"


@pytest.mark.parametrize("version", VERSIONS)
def test_queue_and_accounting_agree(version):
    queued, accounted = parse_queue(lines(version)[3])[0], parse_accounting(lines(version)[4])[0]
    assert (queued.job_id, queued.state, queued.nodes) == (accounted.job_id, accounted.state, accounted.nodes)


def test_what_this_projects_own_cluster_printed_is_read():
    shown = lines("22.05")
    job, node, partition = parse_job(shown[0]), parse_node(shown[1]), parse_partition(shown[2])
    assert job is not None
    assert node is not None
    assert partition is not None
    assert (job.nodes, job.excluded) == ("n[1-2]", "n3")
    assert (node.gpus, node.gpu_types, node.state) == (4, frozenset(), "MIXED")
    assert (partition.max_minutes, partition.max_nodes) == (60, None)


def test_an_array_element_is_known_by_its_array_and_number():
    job = parse_job("JobId=12 ArrayJobId=10 ArrayTaskId=2 JobName=x JobState=FAILED Reason=NonZeroExitCode")
    assert job is not None
    assert (job.job_id, job.state, job.reason) == ("10_2", "FAILED", "NonZeroExitCode")
    whole = parse_job("JobId=10 ArrayJobId=10 ArrayTaskId=0-3%2 JobName=x JobState=PENDING Reason=Priority")
    assert whole is not None
    assert whole.job_id == "10"


def test_states_lose_their_flags_and_authors():
    assert parse_accounting("7|CANCELLED by 1000|None assigned|0:15")[0].state == "CANCELLED"
    assert parse_accounting("7|NODE_FAIL+|n1|1:0")[0].state == "NODE_FAIL"
    assert parse_accounting("7|COMPLETED|n1|0:0")[0].reason == ""


def test_noise_is_no_job():
    assert parse_job("slurm_load_jobs error: Invalid job id specified") is None
    assert parse_queue("squeue: error: slurm_load_jobs") == []
    assert parse_accounting("Slurm accounting storage is disabled") == []


def test_values_may_hold_spaces_and_equal_signs():
    found = fields("NodeName=n1 OS=Linux 5.14 #1 SMP CfgTRES=cpu=64,gres/gpu=8 Reason=Not responding [root@2026]")
    assert found["OS"] == "Linux 5.14 #1 SMP"
    assert found["CfgTRES"] == "cpu=64,gres/gpu=8"
    assert found["Reason"] == "Not responding [root@2026]"


@pytest.mark.parametrize(
    ("folded", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[01-02,7],login", ["n01", "n02", "n7", "login"]),
        ("r[1-2]n[3-4]", ["r1n3", "r1n4", "r2n3", "r2n4"]),
        ("a,b", ["a", "b"]),
    ],
)
def test_folded_node_lists_unfold(folded, names):
    assert expand_nodes(folded) == names


@given(st.text(max_size=200))
def test_no_text_breaks_the_readers(text):
    parse_job(text)
    parse_queue(text)
    parse_accounting(text)
    parse_node(text) if "Gres=" in text else None
