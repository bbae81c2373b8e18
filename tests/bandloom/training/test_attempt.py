"""Attempts of real processes at one run folder."""

import re
import shutil
import time
from pathlib import Path

import pytest

from bandloom.errors import RunFolderError
from bandloom.run_state.markers import RunMarkers
from bandloom.run_state.run_folder import RunFolder
from bandloom.training.attempt import Attempt
from tests.bandloom.tiny_training import Ranked, run_ranks
from tests.bandloom.training.attempts import Work

WORK = "tests.bandloom.training.attempts:work"


def test_of_two_processes_that_open_one_run_at_once_one_works(tmp_path: Path):
    run = tmp_path / "run"
    RunFolder(run).start(Work())  # both could go on with it
    begin = time.time() + 0.5
    both = [
        Ranked(WORK, 1, tmp_path / name, outs=[str(run)], steps=[1], begin=begin, seconds=1.5) for name in ("a", "b")
    ]
    refused, worked = sorted((each.outcome()[0] for each in both), key=lambda said: said == "worked")
    assert worked == "worked"
    assert "is being written by" in refused or "is at work on" in refused
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "run"]


@pytest.mark.parametrize(("apart_s", "ended_before"), [(0.0, False), (0.7, False), (0.0, True), (0.7, True)])
def test_of_two_processes_that_inherit_one_attempts_name_one_works(tmp_path: Path, apart_s: float, ended_before: bool):
    """A batch script that starts two trainings with one --out: the second writes nothing, whatever its config.

    So it is where a training of that name failed before: a script may try again.
    """
    run = tmp_path / "run"
    if ended_before:
        before = Ranked(WORK, 1, tmp_path / "before", outs=[str(run)], steps=[1], seconds=60.0, launched="7.0")
        before.wait_until(lambda: (run / "attempts" / "7.0" / "heartbeat").exists())
        before.kill()
        RunMarkers(run, "7.0").write_end("failed", 0, 1)
        for path in [path for path in run.iterdir() if path.name not in ("attempts", "owner")]:
            path.unlink() if path.is_file() else shutil.rmtree(path)
    begin = time.time() + 0.5
    begins = {1: begin, 2: begin + apart_s}
    both = [
        Ranked(WORK, 1, tmp_path / f"of-{n}", outs=[str(run)], steps=[n], begin=at, seconds=2.5, launched="7.0")
        for n, at in begins.items()
    ]
    said = [each.outcome()[0] for each in both]
    assert sorted(text == "worked" for text in said) == [False, True]
    assert re.search(r"is at work on .* under the same name, BANDLOOM_ATTEMPT=7\.0; unset it", min(said))
    assert f"steps: {1 + said.index('worked')}" in (run / "config.yaml").read_text()


def test_a_process_that_a_launcher_starts_again_under_one_name_follows_the_dead_one(tmp_path: Path):
    given = {"outs": [str(tmp_path / "run")], "steps": [1], "launched": "7.0"}
    first = Ranked(WORK, 1, tmp_path / "first", **given, seconds=60.0)
    first.wait_until(lambda: (tmp_path / "run" / "attempts" / "7.0" / "heartbeat").exists())
    first.kill()
    assert Ranked(WORK, 1, tmp_path / "again", **given).outcome() == [
        "worked"
    ]  # no minute's wait: it is seen to be dead
    assert Ranked(WORK, 1, tmp_path / "next", **given).outcome() == ["worked"]


@pytest.mark.parametrize(
    ("outs", "steps", "sentence"),
    [
        (["one", "two"], [1, 1], r"rank 1 was given --out '.*two' and rank 0 '.*one'; the ranks of one run have"),
        (["one", "one"], [1, 2], r"rank 1 was given steps 2 and rank 0 1; the ranks of one run have"),
    ],
)
def test_ranks_of_other_folders_or_configs_are_refused_on_all(tmp_path: Path, outs, steps, sentence):
    for said in run_ranks(WORK, 2, tmp_path, outs=[str(tmp_path / out) for out in outs], steps=steps):
        assert re.match(sentence, said), said
    assert not (tmp_path / "one").exists()
    assert not (tmp_path / "two").exists()


def test_a_process_that_works_in_a_folder_again_forgets_how_it_ended(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    with Attempt(run) as attempt:
        attempt.open(Work())
        (attempt.markers.attempt_folder / "STOP").touch()
        attempt.markers.write_end("stopped", 0, 75)
    with Attempt(RunFolder(tmp_path / "run")) as attempt:
        attempt.open(Work())
        assert not attempt.markers.stop_requested()
        with pytest.raises(RunFolderError, match="is at work on"):  # and others see that it is at work
            RunMarkers(tmp_path / "run", "another").check_free()
