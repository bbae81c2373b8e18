"""Rows of the GPU benchmarks on disk."""

import json
import os
import signal
import subprocess
import sys
import time

from benchmarks.gpu.journal import ROWS, Journal, Row, run_rows


def counted(name, calls, expected_s=0.0, fails=False):
    def measure():
        calls.append(name)
        if fails:
            raise RuntimeError("the card fell off the bus")
        return {"value": len(calls)}

    return Row(name, expected_s, measure)


def test_rows_are_written_one_by_one_and_measured_once(tmp_path):
    calls = []
    rows = [counted("a", calls), counted("b", calls)]
    assert run_rows(rows, Journal(tmp_path), 60) == []
    run_rows([*rows, counted("c", calls)], Journal(tmp_path), 60)
    assert calls == ["a", "b", "c"]
    lines = [json.loads(line) for line in (tmp_path / ROWS).read_text().splitlines()]
    assert [(line["row"], line["value"]) for line in lines] == [("a", 1), ("b", 2), ("c", 3)]


def test_a_row_that_fails_is_noted_and_tried_again(tmp_path):
    calls = []
    run_rows([counted("a", calls, fails=True), counted("b", calls)], Journal(tmp_path), 60)
    assert Journal(tmp_path).rows()["a"]["failed"] == "RuntimeError: the card fell off the bus"
    run_rows([counted("a", calls), counted("b", calls)], Journal(tmp_path), 60)
    assert calls == ["a", "b", "a"]
    assert "failed" not in Journal(tmp_path).rows()["a"]


def test_rows_that_would_not_end_in_time_are_left_out(tmp_path):
    calls = []
    assert run_rows([counted("long", calls, 100), counted("short", calls, 1)], Journal(tmp_path), 60) == ["long"]
    assert calls == ["short"]


def test_a_line_that_a_kill_cut_short_is_no_row(tmp_path):
    calls = []
    (tmp_path / ROWS).write_text('{"row": "a", "value": 7}\n{"row": "b", "val')
    run_rows([counted("a", calls), counted("b", calls)], Journal(tmp_path), 60)
    assert calls == ["b"]
    assert {name: record["value"] for name, record in Journal(tmp_path).rows().items()} == {"a": 7, "b": 1}


def test_rows_of_earlier_folders_are_known(tmp_path):
    calls = []
    run_rows([counted("a", calls)], Journal(tmp_path / "one"), 60)
    run_rows([counted("a", calls), counted("b", calls)], Journal(tmp_path / "two", [tmp_path / "one"]), 60)
    assert calls == ["a", "b"]


def test_a_killed_call_goes_on_with_the_row_it_was_at(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from benchmarks.gpu.journal import *\n"
        "rows = [Row('quick', 0, lambda: {}), Row('slow', 0, lambda: time.sleep(600) or {})]\n"
        "run_rows(rows, Journal(Path(sys.argv[1])), 900)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.DEVNULL)
    while not (tmp_path / ROWS).exists() or not (tmp_path / ROWS).read_text().endswith("\n"):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    calls = []
    run_rows([counted("quick", calls), counted("slow", calls)], Journal(tmp_path), 60)
    assert calls == ["slow"]


def test_a_row_that_is_further_off_than_its_limit_is_no_success(tmp_path):
    run_rows([Row("parity", 0.0, lambda: {"most_off": 0.5, "within": False})], Journal(tmp_path), 60)
    assert Journal(tmp_path).rows()["parity"]["failed"] == "it is further off than its limit"
