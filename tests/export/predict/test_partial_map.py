"""predict that is killed, starved of disk, or robbed of its input: never a half map, and the same one in the end."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle

PROGRAM = "from bandloom.cli import main; main()"
SLOWLY = ("--threads", "1", "--batch", "1")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def command(bundle, scene, out):
    return [sys.executable, "-c", PROGRAM, "predict", str(bundle), str(scene), *SLOWLY, "--out", str(out)]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def wait_for(victim, happened):
    """Wait until something has happened or the process has ended; tell which."""
    deadline = time.monotonic() + 120
    while victim.poll() is None:
        if happened():
            return True
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return False


def mapped_px(partial: Path) -> int:
    try:
        return json.loads((partial / "state.json").read_text())["done_px"]
    except (OSError, ValueError):
        return 0


@pytest.mark.drill
def test_killed_at_random_moments_again_and_again_the_map_has_the_same_pixels(bundle, tmp_path):
    scene = write_stack(tmp_path / "scene.tif", (2400, 600), hole=(slice(700, 900), slice(100, 500)))
    subprocess.run(command(bundle, scene, tmp_path / "whole.tif"), check=True, capture_output=True)
    out, rng = tmp_path / "killed.tif", np.random.default_rng()
    partial = tmp_path / ".killed.tif.partial"
    rows = sorted(rng.integers(1, 2400, 8).tolist())
    moments = [lambda row=row: mapped_px(partial) >= row for row in rows]
    moments += [(partial / name).exists for name in ("plain.tif", "cog.tif", "plain.tif", "cog.tif")]
    killed = 0
    for moment in moments:
        victim = subprocess.Popen(command(bundle, scene, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if wait_for(victim, moment):
            time.sleep(float(rng.uniform(0, 0.05)))
            victim.send_signal(signal.SIGKILL)
        victim.wait()
        killed += victim.returncode == -signal.SIGKILL
        if out.exists():
            break
    assert killed >= len(rows), rows
    if not out.exists():
        subprocess.run(command(bundle, scene, out), check=True, capture_output=True)
    with rasterio.open(out) as one, rasterio.open(tmp_path / "whole.tif") as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))
        assert one.overviews(1) == other.overviews(1)
    assert left_in(tmp_path) == [
        "killed.qml",
        "killed.stac.json",
        "killed.tif",
        "scene.tif",
        "whole.qml",
        "whole.stac.json",
        "whole.tif",
    ]


def test_a_run_that_was_killed_while_it_wrote_the_finished_map_writes_it(bundle, tmp_path):
    """Everything is mapped, nothing is published: what the kill of a large map's last minute leaves."""
    from bandloom.export.bundle.bundle import read_bundle
    from bandloom.export.predict.map_scene import PredictOptions, map_scene, scene_opener
    from bandloom.export.predict.partial_map import PartialMap
    from bandloom.export.runtimes.verify import verify

    scene = write_stack(tmp_path / "scene.tif", (200, 100))
    found, options = read_bundle(bundle), PredictOptions(threads=1)
    work = []

    class Killed(BaseException):
        pass

    def kill(self):
        work.append(self.done_px)
        raise Killed

    whole = map_scene(found, verify(found, threads=1), scene_opener(str(scene), options), tmp_path / "a.tif", options)
    plain, PartialMap.discard = PartialMap.discard, kill
    try:
        with pytest.raises(Killed):  # the map is out; take it away, as if the kill had come right before the rename
            map_scene(found, verify(found, threads=1), scene_opener(str(scene), options), tmp_path / "b.tif", options)
    finally:
        PartialMap.discard = plain
    (tmp_path / "b.tif").unlink()
    assert work == [200]
    again = map_scene(found, verify(found, threads=1), scene_opener(str(scene), options), tmp_path / "b.tif", options)
    assert again.counts == whole.counts
    with rasterio.open(tmp_path / "a.tif") as one, rasterio.open(tmp_path / "b.tif") as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))
    assert not (tmp_path / ".b.tif.partial").exists()


def test_a_side_file_of_somebody_else_is_not_replaced(bundle, tmp_path):
    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    (tmp_path / "map.stac.json").write_text("mine")
    done = subprocess.run(command(bundle, scene, tmp_path / "map.tif"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "map.stac.json exists already" in done.stderr
    assert (tmp_path / "map.stac.json").read_text() == "mine"
    assert left_in(tmp_path) == ["map.stac.json", "scene.tif"]


@pytest.mark.parametrize("limit_bytes", [20_000, 150_000])
def test_a_limit_on_file_sizes_is_one_sentence_and_leaves_nothing(bundle, tmp_path, limit_bytes):
    scene = write_stack(tmp_path / "scene.tif", (600, 600))
    done = subprocess.run(
        command(bundle, scene, tmp_path / "map.tif"),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "ulimit -f" in done.stderr
    assert left_in(tmp_path) == ["scene.tif"]


def test_an_input_that_vanishes_half_way_is_one_sentence_and_leaves_no_map(bundle, tmp_path):
    scene = write_stack(tmp_path / "scene.tif", (2400, 300))
    out = tmp_path / "map.tif"
    victim = subprocess.Popen(command(bundle, scene, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert wait_for(victim, lambda: mapped_px(tmp_path / ".map.tif.partial") > 0)
    victim.send_signal(signal.SIGSTOP)
    assert mapped_px(tmp_path / ".map.tif.partial") < 2000, "it was over before it could be robbed"
    os.truncate(scene, 1000)
    victim.send_signal(signal.SIGCONT)
    said = victim.communicate(timeout=120)[1]
    assert victim.returncode == 2, said
    assert "it is truncated or damaged" in said
    assert "Traceback" not in said
    assert left_in(tmp_path) == ["scene.tif"]
