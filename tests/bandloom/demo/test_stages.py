"""A demo that was interrupted: typed again it goes on, and what it made already is kept."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bandloom.demo import stages
from bandloom.demo.stages import RECORD, demo_folder, type_verb
from bandloom.errors import OutputError
from bandloom.scores import METRICS, read_scores


def test_an_interrupted_demo_may_go_on_and_a_finished_one_is_kept(tmp_path, capsys):
    out = tmp_path / "below" / "demo"
    with pytest.raises(KeyboardInterrupt), demo_folder(out, "quick"):
        raise KeyboardInterrupt
    assert "goes on" not in capsys.readouterr().out
    with pytest.raises(OutputError, match="exists already"), demo_folder(out, "real"):
        pass
    with demo_folder(out, "quick"):
        assert "interrupted: it goes on" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(OutputError, match="exists already"), demo_folder(out, "quick"):
        pass


def test_a_demo_at_which_another_process_works_is_refused(tmp_path):
    code = "import sys, time; from pathlib import Path; from bandloom.demo.stages import demo_folder\n"
    code += "with demo_folder(Path(sys.argv[1]), 'quick'):\n    print('held', flush=True)\n    time.sleep(600)"
    words = [sys.executable, "-c", code, str(tmp_path / "demo")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert "held" in other.stdout.readline()
        with pytest.raises(OutputError, match="is being written by"), demo_folder(tmp_path / "demo", "quick"):
            pass
        other.kill()
    with demo_folder(tmp_path / "demo", "quick"):  # the killed one's lock is gone, and its demo goes on
        pass


@pytest.mark.parametrize("held", [None, "", "[]", '{"kind": "quick"}', '{"kind": "quick", "version": "0.0.1"}'])
def test_a_folder_of_anything_else_is_refused_and_left_alone(tmp_path, held):
    (tmp_path / "mine.txt").touch()
    if held is not None:
        (tmp_path / RECORD).write_text(held)
    before = sorted(file.name for file in tmp_path.iterdir())
    with pytest.raises(OutputError, match="exists already"), demo_folder(tmp_path, "quick"):
        pass
    assert sorted(file.name for file in tmp_path.iterdir()) == before


@pytest.mark.parametrize(("verb", "typed"), [("predict", False), ("pretrain", True), ("finetune", True)])
def test_a_verb_whose_output_is_there_is_not_typed_again_but_a_run_is(tmp_path, monkeypatch, verb, typed):
    told = []
    monkeypatch.setattr(stages, "child_command", lambda words: told.append(words) or [sys.executable, "-c", ""])
    type_verb("A stage", verb, "x", "--out", tmp_path / "made")
    assert len(told) == 1
    (tmp_path / "made").mkdir()
    type_verb("A stage", verb, "x", "--out", tmp_path / "made")
    assert len(told) == 1 + typed


def demo(out: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "bandloom.cli", "demo", "--quick", "--out", str(out)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_demo_killed_at_random_moments_ends_with_the_same_scores(tmp_path):
    began = time.monotonic()
    assert demo(tmp_path / "whole").wait() == 0
    whole_s, rng, killed = time.monotonic() - began, random.Random(7), 0
    while (process := demo(tmp_path / "demo")).poll() is None and killed < 6:
        time.sleep(rng.uniform(0.1, 0.5) * whole_s)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        if process.wait() == 0:
            break
    else:
        assert process.wait() == 0, process.stderr and process.stderr.read()
    assert killed
    assert json.loads((tmp_path / "demo" / RECORD).read_text())["finished"]
    for task in ("segment", "classify"):
        one, two = (read_scores(tmp_path / name / task / METRICS).rows for name in ("whole", "demo"))
        assert [(row.name, row.scores) for row in one] == [(row.name, row.scores) for row in two]
