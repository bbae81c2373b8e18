"""What happens to a run on a real Slurm when things go wrong; each ends with the losses of an undisturbed run."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster import Cluster
from conftest import attempts, losses, small_profile

from bandloom.markers import RunMarkers, read_marker
from slurm.profile import Preflight, Profile
from slurm.submit import check, plan_command, submit

HERE = Path(__file__).parent


@dataclass
class Run:
    """A submitted run."""

    folder: Path
    job_id: str
    cluster: Cluster

    def wait_for_step(self, step: int, timeout: float = 120) -> None:
        def there() -> bool:
            return any(
                (read_marker(beat) or {}).get("step", -1) >= step for beat in self.folder.glob("attempts/*/heartbeat")
            )

        self.cluster.wait_until(there, timeout, f"step {step}")

    def wait_for_save(self, timeout: float = 120) -> None:
        self.cluster.wait_until((self.folder / "saved").exists, timeout, "a save")

    def end(self, timeout: float = 240) -> dict[str, str]:
        try:
            return self.cluster.wait(self.job_id, timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{self.log}\n{error}") from None

    @property
    def log(self) -> str:
        path = self.folder / "slurm" / "job.log"
        return path.read_text() if path.exists() else "(no log)"


Launch = Callable[..., Run]


@pytest.fixture
def launch(cluster: Cluster, tmp_path: Path) -> Launch:
    def go(
        steps: int,
        step_s: float,
        *,
        nodes: int = 2,
        fault: str = "",
        minutes: int = 5,
        name: str = "run",
        **changes: object,
    ) -> Run:
        profile = small_profile(
            program=f"{sys.executable} {HERE / 'faulty.py'}",
            **{"env": {"OMP_NUM_THREADS": "1", "FAULT": fault}, **changes},
        )
        return start(cluster, tmp_path / name, profile, steps, step_s, nodes, minutes)

    return go


def start(cluster: Cluster, run: Path, profile: Profile, steps: int, step_s: float, nodes: int, minutes: int) -> Run:
    command = ("toy", str(steps), str(step_s), str(run))
    submission = plan_command(run, command, profile, nodes=nodes, minutes=minutes, folder=HERE)
    check(submission)
    return Run(run, submit(submission), cluster)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[int, float]]:
    """The losses of the same training on four ranks in plain processes, without Slurm."""
    run = tmp_path_factory.mktemp("undisturbed")
    environment = {**os.environ, "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1",
                   "MASTER_PORT": str(10000 + os.getpid() % 20000), "BANDLOOM_ATTEMPT": "1.0"}  # fmt: skip
    command = [sys.executable, str(HERE / "faulty.py"), "toy", "300", "0", str(run)]
    ranks = [subprocess.Popen(command, env={**environment, "RANK": str(rank)}) for rank in range(4)]
    assert [process.wait(120) for process in ranks] == [0] * 4
    all_losses = losses(run)
    return lambda steps: {step: loss for step, loss in all_losses.items() if step <= steps}


def test_a_plain_run_ends_done_with_the_losses_of_one_without_slurm(launch, undisturbed):
    run = launch(12, 0.01)
    assert run.end()["JobState"] == "COMPLETED"
    assert RunMarkers(run.folder).done()
    assert attempts(run.folder)[f"{run.job_id}.0"]["why"] == "done"
    assert losses(run.folder) == undisturbed(12)


def test_a_crashed_rank_ends_the_others_and_the_run_goes_on_from_its_save(launch, undisturbed):
    run = launch(25, 0.02, fault="crash:3@14")
    assert run.end()["JobState"] == "COMPLETED"
    first, second = attempts(run.folder).values()
    assert "task 3: Exited with exit code 7" in first["why"]
    assert second["why"] == "done"
    assert losses(run.folder) == undisturbed(25)


@pytest.mark.drill
def test_a_rank_that_always_crashes_makes_the_run_give_up_and_say_where(launch):
    run = launch(25, 0.02, fault="always-crash:1@14", max_failures=2)
    assert run.end()["JobState"] == "FAILED"
    last = list(attempts(run.folder).values())[-1]
    assert "gave up after 2 failures at step 10" in last["why"]
    assert "task 1: Exited with exit code 7" in last["why"]
    assert len(attempts(run.folder)) == 2


@pytest.mark.drill
def test_a_hung_rank_is_named_by_its_stack_and_the_run_goes_on(launch, undisturbed):
    run = launch(25, 0.05, fault="hang:2@14", hang_s=6)
    assert run.end()["JobState"] == "COMPLETED"
    first = attempts(run.folder)[f"{run.job_id}.0"]
    assert first["why"].startswith("hang: no step for")
    assert "this_rank_hangs" in (run.folder / f"attempts/{run.job_id}.0/rank-2.log").read_text()
    for rank in (0, 1, 3):
        assert "all_reduce" in (run.folder / f"attempts/{run.job_id}.0/rank-{rank}.log").read_text()
    assert losses(run.folder) == undisturbed(25)


@pytest.mark.drill
def test_near_the_time_limit_the_run_saves_and_goes_on_after_a_requeue(launch, undisturbed):
    run = launch(300, 0.1, minutes=1, signal_lead_s=30)
    assert run.end()["JobState"] == "COMPLETED"
    first, *_, last = attempts(run.folder).values()
    assert first["why"] == "stopped: time limit near"
    assert first["end"]["reason"] == "stopped"
    assert last["why"] == "done"
    assert losses(run.folder) == undisturbed(300)


@pytest.mark.drill
def test_a_preempted_run_saves_and_comes_back(launch, cluster, undisturbed):
    run = launch(60, 0.1)
    run.wait_for_save()
    urgent = cluster.sh("sbatch", "--parsable", "-p", "urgent", "-N3", "--ntasks-per-node=4", "--wrap", "sleep 3",
                        "-o", "/dev/null").stdout.strip()  # fmt: skip
    assert urgent
    assert run.end()["JobState"] == "COMPLETED"
    assert len(attempts(run.folder)) >= 2
    assert next(iter(attempts(run.folder).values()))["end"]["reason"] == "stopped"
    assert losses(run.folder) == undisturbed(60)


@pytest.mark.drill
@pytest.mark.parametrize("whose", ["another node's", "the batch host's"])
def test_a_power_off_moves_the_run_to_other_nodes(launch, cluster, undisturbed, whose):
    run = launch(60, 0.1)
    run.wait_for_save()
    batch_host = cluster.job(run.job_id)["BatchHost"]
    others = [name for name in cluster.hosts(run.job_id) if name != batch_host]
    lost = batch_host if whose == "the batch host's" else others[0]
    cluster.power_off(lost)
    assert run.end()["JobState"] == "COMPLETED"
    assert lost not in list(attempts(run.folder).values())[-1]["nodes"]
    assert losses(run.folder) == undisturbed(60)


@pytest.mark.drill
def test_a_batch_host_whose_daemon_dies_alone_saves_and_moves_on(launch, cluster, undisturbed):
    run = launch(60, 0.1)
    run.wait_for_save()
    cluster.kill_slurmd(cluster.job(run.job_id)["BatchHost"])
    assert run.end()["JobState"] == "COMPLETED"
    assert losses(run.folder) == undisturbed(60)


@pytest.mark.drill
def test_ranks_that_outlive_their_node_are_fenced_and_write_nothing(launch, cluster):
    run = launch(200, 0.1, nodes=1)
    run.wait_for_save()
    host = cluster.job(run.job_id)["BatchHost"]
    cluster.freeze_srun(host)  # nobody is left to tell the ranks: they train on while the job starts elsewhere
    cluster.kill_slurmd(host)
    assert run.end()["JobState"] == "COMPLETED"
    orphan, successor = (run.folder / "attempts" / name for name in attempts(run.folder))
    assert f"belongs to attempt {successor.name} now" in (orphan / "rank-0.log").read_text()
    assert not (orphan / "end").exists()
    assert read_marker(orphan / "heartbeat")["time"] > (successor / "nodes").stat().st_mtime - 1
    assert (run.folder / "owner").read_text().strip() == successor.name
    assert sorted(losses(run.folder)) == list(range(1, 201))


@pytest.mark.drill
def test_a_bad_node_in_preflight_is_excluded_and_the_job_goes_on_without_it(launch):
    run = launch(
        12, 0.01, preflight=Preflight(gpus=False, collective=True, shm_gb=0, command='test "$SLURMD_NODENAME" != n1')
    )
    state = run.end()
    assert state["JobState"] == "COMPLETED"
    assert state["ExcNodeList"] == "n1"
    first, second = attempts(run.folder).values()
    assert first["why"] == "preflight failed on n1"
    assert second["nodes"] == ["n2", "n3"]
    assert "the check of the profile failed" in run.log
    assert "GB/s over 4 ranks" in run.log


@pytest.mark.drill
def test_a_stopped_run_goes_on_with_another_number_of_nodes(launch, cluster):
    run = launch(300, 0.1)
    run.wait_for_save()
    (run.folder / "KILL").touch()
    assert run.end()["JobState"] == "COMPLETED"
    assert not RunMarkers(run.folder).done()
    assert attempts(run.folder)[f"{run.job_id}.0"]["why"] == "stopped on request"
    (run.folder / "KILL").unlink()
    stopped_at = read_marker(run.folder / "saved")["step"]
    again = launch(stopped_at + 10, 0.01, nodes=1)
    assert again.end()["JobState"] == "COMPLETED"
    assert RunMarkers(run.folder).done()
    assert sorted(losses(run.folder)) == list(range(1, stopped_at + 11))


@pytest.mark.drill
def test_a_restart_of_the_controller_does_not_disturb_a_run(launch, cluster, undisturbed):
    run = launch(60, 0.1)
    run.wait_for_save()
    cluster.kill_controller()
    time.sleep(1)
    cluster.start_controller()
    assert run.end()["JobState"] == "COMPLETED"
    assert list(attempts(run.folder)) == [f"{run.job_id}.0"]
    assert losses(run.folder) == undisturbed(60)


@pytest.mark.drill
def test_a_cancelled_run_saves_and_does_not_come_back(launch, cluster):
    run = launch(300, 0.1)
    run.wait_for_save()
    cluster.sh("scancel", run.job_id)
    assert run.end()["JobState"] == "CANCELLED"
    time.sleep(8)
    assert list(attempts(run.folder)) == [f"{run.job_id}.0"]
