import contextlib
import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster import Cluster, missing

from bandloom.run_state.markers import read_marker
from bandloom.slurm.profile import Container, Preflight, Profile


@pytest.fixture(scope="session")
def session_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := missing():
        if os.environ.get("BANDLOOM_REQUIRE_SLURM") == "1":
            pytest.fail(f"BANDLOOM_REQUIRE_SLURM=1, but {reason}")
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"), port=_free_port())
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


def _free_port() -> int:
    """Return where a block of ports begins that no other run of these tests has taken."""
    for port in range(12000 + os.getpid() % 10 * 500, 30000, 500):
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("every block of ports is taken; end the other runs of these tests")


@pytest.fixture
def cluster(session_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The real cluster, healthy and empty, and this process set to speak to it."""
    session_cluster.heal()
    monkeypatch.setenv("SLURM_CONF", str(session_cluster.conf))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return session_cluster


def small_profile(**changes: object) -> Profile:
    """A profile of the test cluster: two ranks a node, quick limits, no GPU to ask."""
    quick = {
        "gpus_per_node": 2,
        "cpus_per_rank": 1,
        "exclusive": False,
        "memory": "1000M",
        "time": "5m",
        "shared_paths": ("/",),
        "signal_lead_s": 50,
        "startup_s": 900,
        "hang_s": 300,
        "env": {"OMP_NUM_THREADS": "1"},
        "preflight": Preflight(enabled=False),
        "container": Container(),
    }
    return Profile.model_validate({**quick, **changes})


def losses(run: Path) -> dict[int, float]:
    """Step to loss of a run, whatever attempts it took; a step that was done twice must have come out the same."""
    import json

    found: dict[int, float] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "train":
            step = int(record["step"])
            assert found.setdefault(step, record["loss"]) == record["loss"], f"step {step} came out differently"
    return found


def _job_and_restart(attempt: Path) -> list[int]:
    """Return the numbers in an attempt's name; an orphan may write in its folder after its successor ended."""
    return [int(number) for number in re.findall(r"[0-9]+", attempt.name)]


def attempts(run: Path) -> dict[str, dict[str, object]]:
    """Attempt name to what is known of it."""
    found = {}
    for folder in sorted((run / "attempts").iterdir(), key=_job_and_restart):
        why = folder / "why"
        found[folder.name] = {
            "why": why.read_text().strip() if why.exists() else None,
            "end": read_marker(folder / "end"),
            "nodes": (folder / "nodes").read_text().split() if (folder / "nodes").exists() else [],
        }
    return found


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few synthetic scenes, sharded."""
    from trainers import BANDLOOM

    folder = tmp_path_factory.mktemp("shards")
    made = ("synth", "--out", str(folder / "synth"), "--scenes", "8", "--size", "240")
    built = ("build", str(folder / "synth" / "scenes"), "--out", str(folder / "tars"), "--split", "train")
    for command in (made, built):
        subprocess.run([BANDLOOM, "shards", *command], check=True, capture_output=True)
    return folder / "tars"


@pytest.fixture(scope="session", params=["torch", pytest.param("deepspeed", marks=pytest.mark.drill)])
def trainer(request: pytest.FixtureRequest) -> object:
    """Each drill disturbs the project's own pretraining, once with plain torch's DDP and once with DeepSpeed."""
    from trainers import pretraining, toy

    if os.environ.get("BANDLOOM_DRILL_TOY") == "1":
        return toy()
    if request.param == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("no deepspeed: pip install 'bandloom[deepspeed]'")
    if request.param == "deepspeed":  # its extension is built once: the nodes of this cluster are one machine
        import torch

        from bandloom.training.deepspeed_build import prepare_build

        prepare_build(torch.device("cpu"))
    return pretraining(request.getfixturevalue("shards"), request.param)


@pytest.fixture(scope="session")
def undisturbed(trainer: object, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The losses of the same training on four ranks without Slurm."""
    return trainer.run_undisturbed(tmp_path_factory.mktemp("undisturbed"))  # type: ignore[attr-defined]
