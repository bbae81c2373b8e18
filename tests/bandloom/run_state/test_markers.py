import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from bandloom.errors import RunFolderError
from bandloom.run_state.markers import RunMarkers, read_marker


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    monkeypatch.delenv("BANDLOOM_ATTEMPT", raising=False)


def test_the_last_attempt_to_claim_owns_the_run_and_the_older_one_is_fenced(tmp_path):
    old, new = RunMarkers(tmp_path, "1.0"), RunMarkers(tmp_path, "1.1")
    old.claim()
    old.check_owner()
    new.claim()
    new.check_owner()
    with pytest.raises(RunFolderError, match=r"belongs to attempt 1\.1 now, this is attempt 1\.0"):
        old.check_owner()


def test_a_launched_orphan_does_not_take_the_run_back(tmp_path, monkeypatch):
    RunMarkers(tmp_path, "7.1").claim()
    monkeypatch.setenv("BANDLOOM_ATTEMPT", "7.0")
    with pytest.raises(RunFolderError, match=r"7\.1"):
        RunMarkers(tmp_path).claim()
    assert RunMarkers(tmp_path).owner() == "7.1"


def test_a_launched_attempt_bears_the_name_its_launcher_gave_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BANDLOOM_ATTEMPT", "42.3")
    markers = RunMarkers(tmp_path)
    markers.claim()
    assert markers.attempt == "42.3"
    assert markers.is_owner()


def test_a_killed_run_is_not_claimed_and_the_error_names_the_file(tmp_path):
    (tmp_path / "KILL").touch()
    with pytest.raises(RunFolderError, match="KILL"):
        RunMarkers(tmp_path).claim()


def test_a_heartbeat_says_step_rate_loss_and_rank(tmp_path):
    markers = RunMarkers(tmp_path, "1.0")
    markers.beat(3, loss=0.5, total=10, step_s=0.25)
    record = read_marker(markers.attempt_folder / "heartbeat")
    assert (record["step"], record["loss"], record["total"], record["rate"], record["rank"]) == (3, 0.5, 10, 4.0, 0)
    markers.beat(3, rank=2, force=True)
    assert read_marker(markers.attempt_folder / "heartbeat.2")["rank"] == 2


def test_heartbeats_are_written_once_a_second_at_most_unless_forced(tmp_path):
    markers = RunMarkers(tmp_path, "1.0")
    markers.beat(1)
    markers.beat(2)
    assert read_marker(markers.attempt_folder / "heartbeat")["step"] == 1
    markers.beat(3, force=True)
    assert read_marker(markers.attempt_folder / "heartbeat")["step"] == 3


def test_the_rate_is_that_of_the_median_step(tmp_path):
    markers = RunMarkers(tmp_path, "1.0")
    for step, step_s in enumerate((0.1, 0.1, 9.0, 0.1, 0.1), 1):
        markers.beat(step, step_s=step_s, force=True)
    assert read_marker(markers.attempt_folder / "heartbeat")["rate"] == 10


def test_stop_ends_an_attempt_and_kill_ends_the_run(tmp_path):
    first, second = RunMarkers(tmp_path, "1.0"), RunMarkers(tmp_path, "1.1")
    first.claim()
    assert not first.stop_requested()
    (first.attempt_folder / "STOP").touch()
    assert first.stop_requested()
    assert not first.kill_requested()
    assert not second.stop_requested()
    (tmp_path / "KILL").touch()
    assert second.stop_requested()
    assert second.kill_requested()


def test_term_asks_for_a_stop_and_a_forked_child_still_dies_of_it(tmp_path):
    code = f"""
import os, signal, sys, time
from bandloom.run_state.markers import RunMarkers
markers = RunMarkers({str(tmp_path)!r}, "1.0")
markers.listen()
child = os.fork()
if child == 0:
    time.sleep(30)
    os._exit(0)
time.sleep(0.2)
os.kill(child, signal.SIGTERM)
status = os.waitpid(child, 0)[1]
assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM
assert not markers.stop_requested()
os.kill(os.getpid(), signal.SIGTERM)
assert markers.stop_requested()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


def test_a_done_end_completes_the_run_and_a_stopped_one_does_not(tmp_path):
    markers = RunMarkers(tmp_path, "1.0")
    markers.claim()
    markers.write_end("stopped", 5, 75)
    assert not markers.done()
    markers.write_end("done", 9)
    assert markers.done()
    assert read_marker(markers.attempt_folder / "end")["step"] == 9


def test_an_orphan_that_finishes_does_not_complete_the_run_of_its_successor(tmp_path):
    orphan = RunMarkers(tmp_path, "1.0")
    orphan.claim()
    RunMarkers(tmp_path, "1.1").claim()
    orphan.write_end("done", 9)
    assert not orphan.done()


def test_a_run_inside_another_follows_its_owner_and_its_requests(tmp_path, monkeypatch):
    """What a launcher sees and renews is the outer run alone."""
    monkeypatch.setenv("BANDLOOM_ATTEMPT", "1.0")
    outer, inner = RunMarkers(tmp_path), RunMarkers(tmp_path / "random", inside=tmp_path)
    outer.claim()
    inner.claim()
    inner.beat(3, force=True)
    assert read_marker(tmp_path / "attempts" / "1.0" / "heartbeat")["step"] == 3
    assert not inner.stop_requested()
    (tmp_path / "attempts" / "1.0" / "STOP").touch()
    assert inner.stop_requested()
    inner.write_end("stopped", 3, 75)
    assert read_marker(tmp_path / "attempts" / "1.0" / "end")["reason"] == "stopped"
    (tmp_path / "owner").write_text("1.1\n")  # the batch script of the next attempt
    assert not inner.is_owner()
    monkeypatch.setenv("BANDLOOM_ATTEMPT", "1.1")
    successor = RunMarkers(tmp_path / "random", inside=tmp_path)
    successor.claim()
    assert successor.is_owner()
    with pytest.raises(RunFolderError, match=r"belongs to attempt 1\.1"):
        inner.claim()
    successor.write_end("done", 9)
    assert successor.done()
    assert read_marker(tmp_path / "attempts" / "1.1" / "end") is None
    assert not outer.done()


def test_markers_import_no_torch_and_leave_no_temporary_files(tmp_path):
    markers = RunMarkers(tmp_path, "1.0")
    markers.claim()
    markers.beat(1)
    markers.saved(1, 0.2)
    markers.write_end("done", 1)
    assert not list(tmp_path.rglob(".*"))
    code = "import sys, bandloom.run_state.markers; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ}).returncode == 0


def test_a_damaged_marker_reads_as_none(tmp_path):
    (tmp_path / "end").write_text('{"reason": "do')
    assert read_marker(tmp_path / "end") is None
    assert read_marker(tmp_path / "absent") is None


def test_a_run_that_another_process_is_at_work_on_is_refused_until_it_is_gone(tmp_path):
    code = f"""
import time
from bandloom.run_state.markers import RunMarkers
markers = RunMarkers({str(tmp_path)!r})
markers.claim()
markers.beat(3, total=10)
print("working", flush=True)
time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout
        assert other.stdout.readline() == "working\n"
        with pytest.raises(RunFolderError, match=r"is at work on .* \(step 3, \d+ s ago\)"):
            RunMarkers(tmp_path, "me").check_free()
    finally:
        other.kill()
        other.wait()
        if other.stdout:
            other.stdout.close()
    RunMarkers(tmp_path, "me").check_free()  # what was killed is at work no more


def test_an_owner_of_another_container_is_no_dead_process_of_this_one(tmp_path):
    """Containers may share a host's name, and count their processes from 1."""
    name = f"{socket.gethostname()}-{os.getpid()}"
    other = RunMarkers(tmp_path, name)
    other.beat(3)
    (tmp_path / "owner").write_text(f"{name}\n")
    RunMarkers(tmp_path, name).check_free()  # an earlier process of this number
    beat = other.attempt_folder / "heartbeat"
    beat.write_text(json.dumps(read_marker(beat) | {"processes": "pid:[1]"}))
    with pytest.raises(RunFolderError, match=f"attempt {name} is at work"):
        RunMarkers(tmp_path, name).check_free()


def test_an_attempt_that_ended_or_beat_long_ago_on_another_machine_is_in_nobodys_way(tmp_path):
    other, mine = RunMarkers(tmp_path, "node7-12"), RunMarkers(tmp_path, "me")
    other.claim()
    other.beat(3)
    with pytest.raises(RunFolderError, match="node7-12 is at work"):
        mine.check_free()
    beat = other.attempt_folder / "heartbeat"
    record = read_marker(beat)
    beat.write_text(json.dumps(record | {"time": record["time"] - 61}))
    mine.check_free()
    beat.write_text(json.dumps(record))
    other.write_end("failed", 3, 1)
    mine.check_free()


def test_a_stage_between_the_steps_beats_with_the_step_it_follows(tmp_path):
    markers = RunMarkers(tmp_path, "1.0")
    markers.beat(6, loss=0.5, total=6, force=True)
    first = read_marker(markers.attempt_folder / "heartbeat")
    markers._written_at = None
    markers.beat_stage("scoring")
    second = read_marker(markers.attempt_folder / "heartbeat")
    assert (first["stage"], second["stage"]) == ("training", "scoring")
    assert (second["step"], second["total"]) == (6, 6)
    assert second["time"] >= first["time"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_listening_takes_the_signals_for_a_while_and_gives_them_back(tmp_path, number):
    inherited = signal.signal(number, signal.SIG_DFL)  # under nohup HUP is ignored, and stays so
    markers, before = RunMarkers(tmp_path, "1.0"), signal.getsignal(number)
    with markers.listening():
        assert not markers.stop_requested()
        os.kill(os.getpid(), number)
        assert markers.stop_requested()
    assert not markers.stop_requested()
    assert signal.getsignal(number) == before
    signal.signal(number, inherited)


def test_a_hangup_that_nohup_ignores_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        markers = RunMarkers(tmp_path, "1.0")
        with markers.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not markers.stop_requested()
    finally:
        signal.signal(signal.SIGHUP, before)
