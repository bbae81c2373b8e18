"""A build of a corpus is killed on its way and goes on, with more processes, to the same bytes."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.shards.corpora.replica import SIDE, write_ssl4eo_v11

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]
NAME = "ssl4eos12_train_seasonal_data_{:06d}.zarr.zip"


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path):
    for number in range(12):
        ids = [f"{number:03d}{place:04d}" for place in range(6)]
        write_ssl4eo_v11(tmp_path / "S2L1C" / NAME.format(number), ids, "S2L1C")
    command = [sys.executable, "-m", "bandloom.cli", "shards", "build", str(tmp_path / "S2L1C"), "--side", str(SIDE)]
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    build = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
    journal = tmp_path / ".killed.building/journal-00000.jsonl"
    while not (journal.is_file() and len(journal.read_bytes().splitlines()) >= 2):
        assert build.poll() is None
        time.sleep(0.01)
    os.kill(build.pid, signal.SIGKILL)
    build.wait()
    assert not (tmp_path / "killed").exists()
    subprocess.run([*command, "--out", str(tmp_path / "killed"), "--workers", "2"], check=True, capture_output=True)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
