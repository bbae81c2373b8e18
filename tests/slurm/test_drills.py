"""What happens to a run on a real Slurm when things go wrong; each ends with the losses of an undisturbed run."""

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import Cluster
from conftest import attempts, losses, small_profile
from trainers import BANDLOOM, STEPS, Run, Trainer, bandloom_slurm, toy

from bandloom.run_state.markers import RunMarkers, read_marker
from bandloom.slurm.profile import Preflight
from bandloom.slurm.submit import plan, submit

pytestmark = pytest.mark.timeout(1800)  # a whole run, and with the first one the undisturbed run beside it
Launch = Callable[..., Run]


@pytest.fixture
def launch(cluster: Cluster, trainer: Trainer, tmp_path: Path) -> Launch:
    def go(
        *, slow: float = 0.0, fault: str = "", start: float = 0, nodes: int = 2, minutes: int = 5, **changes: object
    ) -> Run:
        env = {"OMP_NUM_THREADS": "1", "SLOW": str(slow), "FAULT": fault, "START": str(start)}
        if built := os.environ.get("TORCH_EXTENSIONS_DIR"):
            env["TORCH_EXTENSIONS_DIR"] = built
        profile = small_profile(**{"program": trainer.program, "env": env, **changes})
        return trainer.submit(cluster, tmp_path / "run", profile, nodes, minutes)

    return go


@pytest.mark.drill
def test_a_plain_run_ends_done_with_the_losses_of_one_without_slurm(launch, undisturbed):
    run = launch(slow=0.02)
    assert run.end()["JobState"] == "COMPLETED"
    assert RunMarkers(run.folder).done()
    assert attempts(run.folder)[f"{run.job_id}.0"]["why"] == "done"
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
def test_a_crashed_rank_ends_the_others_and_the_run_goes_on_from_its_save(launch, undisturbed):
    run = launch(slow=0.02, fault="crash:3@14")
    assert run.end()["JobState"] == "COMPLETED"
    first, second = attempts(run.folder).values()
    assert "task 3: Exited with exit code 7" in first["why"]
    assert second["why"] == "done"
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
def test_a_rank_that_always_crashes_makes_the_run_give_up_and_say_where(launch):
    run = launch(slow=0.02, fault="always-crash:1@14", max_failures=2)
    assert run.end()["JobState"] == "FAILED"
    assert len(attempts(run.folder)) == 2
    status = bandloom_slurm("status", run.folder)
    assert "failed" in status
    assert "gave up after 2 failures at step 10" in status
    assert "task 1: Exited with exit code 7" in status


@pytest.mark.drill
def test_a_hung_rank_is_named_by_its_stack_and_the_run_goes_on(launch, undisturbed):
    run = launch(slow=0.05, fault="hang:2@14", hang_s=20)
    assert run.end()["JobState"] == "COMPLETED"
    first = run.folder / "attempts" / f"{run.job_id}.0"
    assert (first / "why").read_text().startswith("hang: no heartbeat for")
    assert all("most recent call first" in (first / f"rank-{rank}.log").read_text() for rank in range(4))
    assert f"attempt {first.name} hung: rank 2 was in this_rank_hangs (faulty.py:" in bandloom_slurm(
        "status", run.folder
    )
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
def test_near_the_time_limit_the_run_saves_and_goes_on_after_a_requeue(launch, undisturbed):
    run = launch(slow=2.5, minutes=2, signal_lead_s=30)
    assert run.end()["JobState"] == "COMPLETED"
    first, *_, last = attempts(run.folder).values()
    assert first["why"] == "stopped: time limit near"
    assert first["end"]["reason"] == "stopped"
    assert last["why"] == "done"
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
def test_a_stop_before_the_first_heartbeat_ends_at_once_and_is_no_failure(launch, cluster, undisturbed):
    run = launch(start=600, max_failures=1)
    first = run.folder / "attempts" / f"{run.job_id}.0"
    cluster.wait_until((first / "step").exists, 300, f"the ranks of\n{run.log}")
    began = time.monotonic()
    cluster.sh("scancel", "--signal=USR1", "--batch", run.job_id)
    cluster.wait_until((first / "why").exists, 60, f"the end of\n{run.log}")
    assert time.monotonic() - began < 20
    assert (first / "why").read_text().strip() == "stopped before its first heartbeat: time limit near"
    assert run.end()["JobState"] == "COMPLETED"
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
def test_ranks_that_cannot_save_before_the_time_limit_are_ended_so_that_the_run_is_queued_again(launch, undisturbed):
    run = launch(slow=0.05, fault="hang:2@14", minutes=2, signal_lead_s=60)
    assert run.end()["JobState"] == "COMPLETED"
    first, *_, last = attempts(run.folder).values()
    assert first["why"] == "time limit: no save within 30 s of being asked for one"
    assert last["why"] == "done"
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
def test_what_follows_the_last_step_is_no_hang_while_it_beats(cluster, tmp_path):
    profile = small_profile(program=toy().program, env={"OMP_NUM_THREADS": "1"}, hang_s=15, max_failures=1)
    config = toy().write_config(tmp_path)
    planned = plan(tmp_path / "run", config, profile, time="5m", verb="toy", overrides=("trainer.scoring_s=45",))
    run = Run(tmp_path / "run", submit(planned), cluster)
    assert run.end()["JobState"] == "COMPLETED", run.log
    assert attempts(run.folder)[f"{run.job_id}.0"]["why"] == "done"


@pytest.mark.drill
def test_a_preempted_run_saves_and_comes_back(launch, cluster, undisturbed):
    run = launch(slow=0.3)
    run.wait_for_save()
    urgent = cluster.sh(
        "sbatch", "--parsable", "-p", "urgent", "-N3", "--ntasks-per-node=4", "--wrap", "sleep 3", "-o", "/dev/null"
    ).stdout.strip()
    assert urgent
    assert run.end()["JobState"] == "COMPLETED"
    first, *_, last = attempts(run.folder).values()
    assert first["why"] == "stopped: preempted, cancelled or a node lost"
    assert first["end"]["reason"] == "stopped"
    assert last["why"] == "done"
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
@pytest.mark.parametrize("whose", ["another node's", "the batch host's"])
def test_a_power_off_moves_the_run_to_other_nodes(launch, cluster, undisturbed, whose):
    run = launch(slow=0.3)
    run.wait_for_save()
    batch_host = cluster.job(run.job_id)["BatchHost"]
    others = [name for name in cluster.hosts(run.job_id) if name != batch_host]
    lost = batch_host if whose == "the batch host's" else others[0]
    cluster.power_off(lost)
    assert run.end()["JobState"] == "COMPLETED"
    assert lost not in list(attempts(run.folder).values())[-1]["nodes"]
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
def test_a_batch_host_whose_daemon_dies_alone_saves_and_moves_on(launch, cluster, undisturbed):
    run = launch(slow=0.3)
    run.wait_for_save()
    cluster.kill_slurmd(cluster.job(run.job_id)["BatchHost"])
    assert run.end()["JobState"] == "COMPLETED"
    assert len(attempts(run.folder)) >= 2
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
def test_ranks_that_outlive_their_node_are_fenced_and_write_nothing(launch, cluster):
    run = launch(slow=1.0, nodes=1)
    run.wait_for_save()
    host = cluster.job(run.job_id)["BatchHost"]
    cluster.freeze_srun(host)  # nobody is left to tell the ranks: they train on while the job starts elsewhere
    cluster.kill_slurmd(host)
    assert run.end()["JobState"] == "COMPLETED"
    orphan, *_, last = (run.folder / "attempts" / name for name in attempts(run.folder))
    assert (orphan / "why").read_text().startswith("fenced: the run belongs to")
    assert read_marker(orphan / "heartbeat")["time"] > (last / "nodes").stat().st_mtime - 60
    assert (read_marker(orphan / "end") or {"reason": "failed"})["reason"] == "failed"
    assert (run.folder / "owner").read_text().strip() == last.name
    assert read_marker(run.folder / "DONE")["attempt"] == last.name
    assert sorted(losses(run.folder)) == list(range(1, STEPS + 1))


@pytest.mark.drill
def test_a_bad_node_in_preflight_is_excluded_and_the_job_goes_on_without_it(launch, undisturbed):
    flight = Preflight(gpus=False, collective=True, shm_gb=0, command='test "$SLURMD_NODENAME" != n1')
    run = launch(slow=0.02, preflight=flight)
    state = run.end()
    assert state["JobState"] == "COMPLETED"
    assert state["ExcNodeList"] == "n1"
    first, second = attempts(run.folder).values()
    assert first["why"] == "preflight failed on n1"
    assert second["nodes"] == ["n2", "n3"]
    assert "the check of the profile failed" in run.log
    assert "GB/s over 4 ranks" in run.log
    assert "excluded nodes: n1" in bandloom_slurm("status", run.folder)
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
def test_a_stopped_run_goes_on_with_another_number_of_nodes(launch, cluster):
    run = launch(slow=0.3)
    run.wait_for_save()
    assert "will save and end" in bandloom_slurm("stop", run.folder)
    assert run.end()["JobState"] == "COMPLETED"
    assert attempts(run.folder)[f"{run.job_id}.0"]["why"] == "stopped on request"
    assert "stopped" in bandloom_slurm("status", run.folder)
    stopped_at = run.saved_step
    assert 10 <= stopped_at < STEPS
    said = bandloom_slurm("resume", run.folder, "--nodes", "1")
    run.job_id = said.split()[1]
    assert run.end()["JobState"] == "COMPLETED"
    assert list(attempts(run.folder).values())[-1]["nodes"] == ["n1"]
    assert RunMarkers(run.folder).done()
    assert sorted(losses(run.folder)) == list(range(1, STEPS + 1))


@pytest.mark.drill
def test_a_restart_of_the_controller_does_not_disturb_a_run(launch, cluster, undisturbed):
    run = launch(slow=0.3)
    run.wait_for_save()
    cluster.kill_controller()
    time.sleep(1)
    cluster.start_controller()
    assert run.end()["JobState"] == "COMPLETED"
    assert list(attempts(run.folder)) == [f"{run.job_id}.0"]
    assert losses(run.folder) == undisturbed


@pytest.mark.drill
def test_a_cancelled_run_saves_and_does_not_come_back(launch, cluster):
    run = launch(slow=0.3)
    run.wait_for_save()
    cluster.sh("scancel", run.job_id)
    assert run.end()["JobState"] == "CANCELLED"
    time.sleep(8)
    assert list(attempts(run.folder)) == [f"{run.job_id}.0"]
    assert attempts(run.folder)[f"{run.job_id}.0"]["end"]["reason"] == "stopped"


@pytest.mark.drill
def test_a_job_submitted_from_inside_a_job_does_not_inherit_its_settings(cluster, trainer, tmp_path):
    profile = tmp_path / "profile.yaml"
    profile.write_text(small_profile(program=trainer.program).to_yaml())
    command = (
        BANDLOOM,
        "slurm",
        "submit",
        str(tmp_path / "run"),
        str(trainer.write_config(tmp_path)),
        "--profile",
        str(profile),
        "--verb",
        trainer.verb,
        "--nodes",
        "2",
        "--time",
        "5m",
    )
    outer = cluster.sh(
        "sbatch",
        "--parsable",
        "-N1",
        "-n1",
        "-c3",
        "--mem=500M",
        "-o",
        str(tmp_path / "outer.log"),
        "--export=ALL,SLURM_CPUS_PER_TASK=3",
        "--wrap",
        shlex.join(command),
    ).stdout.strip()
    assert cluster.wait(outer)["JobState"] == "COMPLETED", (tmp_path / "outer.log").read_text()
    inner = Run(tmp_path / "run", (tmp_path / "outer.log").read_text().split()[1], cluster)
    state = inner.end()
    assert state["JobState"] == "COMPLETED"
    assert (state["NumNodes"], state["NumCPUs"], state["NumTasks"]) == ("2", "4", "4")
