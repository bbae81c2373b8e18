"""Builds killed at random moments, on real processes."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from shards.build import workplace

CHILD = """
import sys
import shards.plan
shards.plan.UNIT_SAMPLES = 4
from shards.build import build
from shards.plan import BuildOptions
from pathlib import Path
build([sys.argv[1]], Path(sys.argv[2]), BuildOptions(60))
"""


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.suffix == ".tar"}


def start(scenes, out):
    return subprocess.Popen([sys.executable, "-c", CHILD, str(scenes), str(out)])


@pytest.mark.drill
@pytest.mark.timeout(3600)
def test_a_build_killed_at_a_hundred_random_moments_ends_with_the_same_bytes(synthetic, tmp_path):
    scenes, chance = synthetic / "scenes", random.Random(0)
    began = time.monotonic()
    assert start(scenes, tmp_path / "whole").wait() == 0
    whole_s = time.monotonic() - began
    kills, builds = 0, 0
    while kills < int(os.environ.get("BANDLOOM_KILLS", "100")):
        out = tmp_path / f"out{builds}"
        builds += 1
        while not out.exists():
            child = start(scenes, out)
            try:
                child.wait(chance.uniform(0.3, 1.1) * whole_s)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
                kills += 1
            else:
                assert child.returncode == 0
        assert digests(out) == digests(tmp_path / "whole")
        assert (out / "samples.jsonl").read_text() == (tmp_path / "whole/samples.jsonl").read_text()
        assert not workplace(out).exists()
        assert not [p.name for p in out.iterdir() if "tmp" in p.name]
