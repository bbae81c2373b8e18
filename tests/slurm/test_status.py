"""Status from a run folder and what Slurm still remembers: every state, on recorded answers of Slurm 20 to 24."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from bandloom.errors import RunFolderError
from bandloom.run_state.markers import RunMarkers
from bandloom.slurm import cluster
from bandloom.slurm.profile import Profile
from bandloom.slurm.records import Job, parse_job
from bandloom.slurm.run_record import RunRecord, write_record
from bandloom.slurm.status import find_stragglers, read_status
from bandloom.slurm.status_table import show_status

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A submitted run of job 4242 on a cluster that knows nothing yet."""
    profile = Profile(hang_s=100).model_dump(mode="json")
    write_record(tmp_path, RunRecord("pretrain", None, [], profile, 4, 60, "/", ["bandloom"], [], ["4242"]))
    slurm_says(monkeypatch, None)
    return tmp_path


def slurm_says(monkeypatch: pytest.MonkeyPatch, job: Job | None) -> None:
    monkeypatch.setattr(cluster, "has_slurm", lambda: True)
    monkeypatch.setattr(cluster, "find_job", lambda job_id: job)
    monkeypatch.setattr(cluster, "queued_jobs", lambda name: [])


def attempt(
    run: Path, name: str, *, step: int | None = None, why: str = "", at: float = 1000.0, **more: object
) -> Path:
    folder = run / "attempts" / name
    folder.mkdir(parents=True)
    (folder / "nodes").write_text("n1\nn2\n")
    (run / "owner").write_text(name + "\n")
    if why:
        (folder / "why").write_text(why + "\n")
    if step is not None:
        beat = {
            "step": step,
            "time": at,
            "rank": 0,
            "node": "n1",
            "loss": 0.5,
            "total": 100,
            "rate": 2.0,
            "step_s": 0.5,
        } | more
        (folder / "heartbeat").write_text(json.dumps(beat))
    return folder


@pytest.mark.parametrize("version", ["20.02", "21.08", "23.11", "24.11"])
def test_a_training_run_shows_step_rate_and_time_left_on_every_version(run, monkeypatch, version):
    slurm_says(monkeypatch, parse_job((RECORDED / f"slurm-{version}.txt").read_text().splitlines()[0]))
    attempt(run, "4242.0", step=30, why="hang: no heartbeat for 900 s")
    attempt(run, "4242.2", step=50)
    (run / "saved").write_text('{"step": 40}')
    status = read_status(run, now=1010.0)
    assert (status.state, status.detail, status.job_id) == ("training", "on n[1-2,5-6]", "4242")
    assert (status.step, status.total, status.rate, status.eta_s, status.saved_step) == (50, 100, 2.0, 25.0, 40)
    assert status.excluded == "n[3-4]"
    assert [attempt.why for attempt in status.attempts] == ["hang: no heartbeat for 900 s", ""]


def test_a_run_without_a_beat_starts_and_one_with_an_old_beat_is_stalled(run, monkeypatch):
    slurm_says(monkeypatch, Job("4242", "RUNNING", nodes="n1"))
    attempt(run, "4242.0")
    assert read_status(run, now=1010.0).state == "starting"
    attempt(run, "4242.1", step=3)
    assert read_status(run, now=1010.0).state == "training"
    stalled = read_status(run, now=1200.0)
    assert (stalled.state, stalled.detail) == ("stalled", "no heartbeat for 200 s on n1")
    assert stalled.eta_s is None


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("training", ("training", "on n1")),
        ("saving a snapshot", ("training", "saving a snapshot, on n1")),
        ("training film", ("training", "training film, on n1")),
        ("baselines", ("baselines", "on n1")),
        ("fitting pixel_rf", ("baselines", "fitting pixel_rf, on n1")),
        ("scoring fine-tuned", ("scoring", "scoring fine-tuned, on n1")),
        ("intervals", ("scoring", "intervals, on n1")),
        ("writing the report", ("saving", "writing the report, on n1")),
    ],
)
def test_a_running_run_says_which_stage_is_at_work(run, monkeypatch, stage, said):
    slurm_says(monkeypatch, Job("4242", "RUNNING", nodes="n1"))
    attempt(run, "4242.0", step=3, stage=stage)
    status = read_status(run, now=1010.0)
    assert (status.state, status.detail) == said
    assert (status.eta_s is None) == (said[0] != "training")


def test_a_run_without_steps_shows_none(run, monkeypatch):
    slurm_says(monkeypatch, Job("4242", "RUNNING", nodes="n1"))
    attempt(run, "4242.0", step=0, stage="fitting linear", total=None, rate=None, loss=None)
    console = Console(width=200, record=True)
    console.print(show_status(read_status(run, now=1010.0)))
    assert "step 0" not in console.export_text()


def test_a_waiting_run_says_why_it_waits(run, monkeypatch):
    slurm_says(monkeypatch, Job("4242", "PENDING", "Resources", expected_start="2026-11-21T10:00:00"))
    assert (read_status(run).state, read_status(run).detail) == (
        "queued",
        "Resources; expected to start 2026-11-21T10:00:00",
    )
    attempt(run, "4242.0", step=30, why="preflight failed on n1")
    status = read_status(run)
    assert status.state == "requeued"
    assert status.detail.startswith("preflight failed on n1; Resources")


def test_an_attempt_whose_node_took_its_last_word_along_is_called_lost(run, monkeypatch):
    slurm_says(monkeypatch, Job("4242", "PENDING", "BeginTime"))
    attempt(run, "4242.0", step=30)
    assert read_status(run).detail == "lost: its batch script left no word (node failure); BeginTime"
    attempt(run, "4242.1", step=35, why="done")
    assert read_status(run).attempts[0].why.startswith("lost:")


def test_a_complete_a_stopped_a_cancelled_and_a_failed_run_are_told_apart_when_slurm_has_forgotten(run, monkeypatch):
    attempt(run, "4242.0", step=30, why="gave up after 3 failures at step 30: n2: task 1: Exited with exit code 7")
    assert read_status(run).state == "failed"
    assert read_status(run).detail.startswith("gave up after 3 failures at step 30")
    (run / "KILL").touch()
    assert read_status(run).state == "stopped"
    (run / "KILL").unlink()
    slurm_says(monkeypatch, Job("4242", "CANCELLED"))
    assert read_status(run).state == "stopped"
    RunMarkers(run, "4242.0").write_end("done", 100)
    assert read_status(run).state == "done"


def test_a_run_nobody_knows_anything_of_is_lost(run):
    assert read_status(run).state == "lost"


def test_a_job_that_failed_before_its_first_attempt_shows_slurms_word(run, monkeypatch):
    slurm_says(monkeypatch, Job("4242", "FAILED", "JobLaunchFailure"))
    assert read_status(run).detail == "Slurm says failed JobLaunchFailure"


def test_a_run_without_slurm_at_all_is_read_from_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "has_slurm", lambda: False)
    markers = RunMarkers(tmp_path, "host-1")
    markers.claim()
    markers.beat(7, total=9, step_s=0.1)
    markers.write_end("done", 9)
    status = read_status(tmp_path)
    assert (status.state, status.step, status.job_id) == ("done", 9, None)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="is no run folder"):
        read_status(tmp_path)


def test_attempts_are_in_the_order_they_were_made(run):
    for name in ("4242.10", "4242.9", "4300.0", "999.1"):
        attempt(run, name, why="x")
    assert [attempt.name for attempt in read_status(run).attempts] == ["999.1", "4242.9", "4242.10", "4300.0"]


def test_a_node_whose_median_step_is_long_is_a_straggler():
    beats = [{"node": f"n{rank // 2}", "step_s": 0.9 if rank // 2 == 1 else 0.5} for rank in range(8)]
    assert find_stragglers(beats) == {"n1": 1.8}
    assert find_stragglers(beats[:2]) == {}
    assert find_stragglers([{"node": "n1", "step_s": None}]) == {}


def test_the_table_names_attempts_stragglers_and_whoever_hung(run, monkeypatch):
    slurm_says(monkeypatch, Job("4242", "RUNNING", nodes="n[1-2]", excluded="n3"))
    hung = attempt(run, "4242.0", step=30, why="hang: no heartbeat for 900 s")
    (hung / "HANG").touch()
    stack = 'Current thread 0x01 (most recent call first):\n  File "/c/{}.py", line 3 in {}\n'
    (hung / "rank-0.log").write_text(stack.format("ranks", "all_reduce"))
    (hung / "rank-1.log").write_text(stack.format("loader", "read"))
    now = attempt(run, "4242.1", step=50)
    slow = {"step": 50, "time": 1000.0, "rank": 1, "node": "n2", "step_s": 1.0}
    (now / "heartbeat.1").write_text(json.dumps(slow))
    shown = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    shown.print(show_status(read_status(run, now=1001.0)))
    text = shown.export_text()
    shown.file.close()
    for part in (
        "step 50 of 100, 2.00 steps/s, 0:00:25 left",
        "excluded nodes: n3",
        "straggler: n2 takes 2.0 times",
        "attempt 4242.0 hung: rank 1 was in read (loader.py:3)",
        "hang: no heartbeat for 900 s",
    ):
        assert part in text, text
