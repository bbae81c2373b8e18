"""Builds killed with -9 at random moments, on real processes.

The builders are forked from a server that has imported everything (importing alone takes a second on a quiet machine,
and many on a busy one), so that the kills fall into the build and not into its start.
"""

import hashlib
import os
import random
import time
from multiprocessing import get_context

import pytest

from bandloom.shards.build.build import workplace
from tests.shards.drill_build import build_small_units

pytestmark = [pytest.mark.drill, pytest.mark.timeout(3600)]


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def builders():
    """A context whose processes are forked from one that has imported what a build needs."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.shards.drill_build", "bandloom.shards.build.build", "blosc2"])
    return context


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in file.read().split()]


def drill(builders, scenes, tmp_path, kills, workers):
    """Kill builds until ``kills`` have died; finish each and compare it with one that nobody disturbed."""
    chance = random.Random(0)
    whole = tmp_path / "whole"
    took = 0.0
    while not whole.exists() or took == 0:
        began = time.monotonic()
        first = builders.Process(target=build_small_units, args=(str(scenes), str(whole), workers))
        first.start()
        first.join()
        assert first.exitcode == 0
        took = time.monotonic() - began
    wanted = digests(whole)
    killed, builds, orphans = 0, 0, []
    while killed < kills:
        out, patience = tmp_path / f"out{builds}", took
        builds += 1
        while not out.exists():
            child = builders.Process(target=build_small_units, args=(str(scenes), str(out), workers))
            child.start()
            child.join(chance.uniform(0, patience))
            if child.exitcode is None:
                orphans += children_of(child.pid)
                child.kill()
                child.join()
                killed += 1
                patience *= 1.1  # a busier machine than at first still gets there
            else:
                assert child.exitcode == 0
        assert digests(out) == wanted
        assert not workplace(out).exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    time.sleep(0.2)
    assert not [pid for pid in orphans if os.path.exists(f"/proc/{pid}") and "tests" in command_of(pid)]
    return builds


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""


def test_a_build_killed_at_a_hundred_random_moments_ends_with_the_same_bytes(builders, synthetic, tmp_path):
    kills = int(os.environ.get("BANDLOOM_KILLS", "100"))
    assert drill(builders, synthetic / "scenes", tmp_path, kills, workers=1) > 1


def test_a_build_of_two_workers_killed_at_ten_random_moments_leaves_no_worker_behind(builders, synthetic, tmp_path):
    drill(builders, synthetic / "scenes", tmp_path, 10, workers=2)
