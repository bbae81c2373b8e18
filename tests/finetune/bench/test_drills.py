"""A drill: replicas of public sets, our encoder and Galileo-nano's real weights, and kill -9 at several moments."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.finetune.public_sets.replicas import eurosat_ms, marine, sen1floods11, sen12ms, so2sat
from tests.finetune.public_sets.replicas.writing import prepared
from tests.public_encoder_folders import real_galileo

SETS: dict[str, Callable[[Path], object]] = {
    "eurosat-ms": lambda root: eurosat_ms.write(root, 12),
    "sen1floods11": sen1floods11.write,
    "mados": marine.write_mados,
    "marida": marine.write_marida,
    "dfc2020": sen12ms.write_dfc2020,
    "sen12ms": sen12ms.write_sen12ms,
    "so2sat": so2sat.write_v2,
}
OPTIONS = ("--seeds", "2", "--c-values", "4", "--bootstrap", "50", "--pixels", "300")
KILLED_AT_ROWS = (1, 9, 20)


@pytest.fixture(name="sets", scope="module")
def replicas(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("replicas")
    for form, write in SETS.items():
        write(folder / "raw" / form)
        prepared(form, folder / "raw" / form, folder / "sets" / form)
    return folder / "sets"


def start(sets: Path, encoder: Path, out: Path) -> subprocess.Popen[str]:
    words = ["bench", "--sets", sets, "--encoder", encoder, "--encoder", real_galileo(), "--out", out, *OPTIONS]
    command = [sys.executable, "-m", "bandloom.cli", *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "COLUMNS": "200"}
    )


def rows_of(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (out / "rows").rglob("*.json")}


def table_of(out: Path) -> list[dict[str, str]]:
    with (out / "table.csv").open(newline="") as file:
        return [line | {"seconds": ""} for line in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.drill
def test_replicas_are_scored_with_two_encoders_and_a_killed_bench_ends_with_the_same_table(
    tmp_path, sets, encoder_folder
):
    whole = start(sets, encoder_folder, tmp_path / "whole")
    said, _ = whole.communicate(timeout=3000)
    assert whole.returncode == 0, said
    out, kept = tmp_path / "killed", {}
    for most in KILLED_AT_ROWS:
        process = start(sets, encoder_folder, out)
        until = time.monotonic() + 600
        while len(rows_of(out)) < most and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert all(rows_of(out)[path] == written for path, written in kept.items())
        kept = rows_of(out)
        assert len(kept) >= most
    last = start(sets, encoder_folder, out)
    said, _ = last.communicate(timeout=3000)
    assert last.returncode == 0, said
    assert all(rows_of(out)[path] == written for path, written in kept.items())
    assert table_of(out) == table_of(tmp_path / "whole")
    scored = {(line["dataset"].partition(" ")[0], line["name"]) for line in table_of(out)}
    both = [form for form in SETS if {(form, encoder_folder.parent.name), (form, "galileo_nano")} <= scored]
    assert len(both) >= 5, both
    assert not list(out.rglob(".*.tmp*"))
