"""Two processes and one output: one writes it, the other waits or is refused, and a dead one is in nobody's way."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bandloom.errors import BusyOutputError, OutputError
from bandloom.export.predict.claim import claimed, lock_of
from tests.export.stack_file import write_stack
from tests.export.tiny_model import tiny_contract, write_tiny_bundle

PROGRAM = "from bandloom.cli import main; main()"


def start(*words) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, "predict", *map(str, words), "--threads", "1", "--batch", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def test_of_two_maps_of_one_name_one_is_made_and_the_other_refused(bundle, tmp_path):
    """Both are well at work: the first is stopped while the second comes."""
    scene, out = write_stack(tmp_path / "scene.tif", (600, 300)), tmp_path / "map.tif"
    first = start(bundle, scene, "--out", out)
    while not lock_of(out).exists():
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    said = start(bundle, scene, "--out", out).communicate(timeout=120)
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=120)
    assert first.returncode == 0
    assert f"map.tif is being written by process {first.pid} on {socket.gethostname()}" in said[1]
    assert said[1].startswith("error: ")
    assert said[1].count("\n") == 1
    with rasterio.open(out) as file:
        assert file.read(1).shape == (600, 300)
    assert left_in(tmp_path) == ["map.qml", "map.stac.json", "map.tif", "scene.tif"]


def test_two_processes_share_a_folder_of_scenes(bundle, tmp_path):
    (tmp_path / "scenes").mkdir()
    for name in "abcd":
        write_stack(tmp_path / "scenes" / f"{name}.tif", (240, 120), seed=ord(name))
    both = [start(bundle, tmp_path / "scenes", "--out", tmp_path / "maps") for _ in range(2)]
    said = [run.communicate(timeout=240) for run in both]
    assert [run.returncode for run in both] == [0, 0], said
    made = [sum(f"{name}.tif: 0.03 megapixels" in text for text, _ in said) for name in "abcd"]
    assert made == [1, 1, 1, 1], "each is mapped once"
    kinds = ("qml", "stac.json", "tif")
    assert left_in(tmp_path / "maps") == [f"{name}.{kind}" for name in "abcd" for kind in kinds]


def test_the_claim_of_a_killed_process_is_nobodys(bundle, tmp_path):
    scene, out = write_stack(tmp_path / "scene.tif", (600, 300)), tmp_path / "map.tif"
    victim = start(bundle, scene, "--out", out)
    while not lock_of(out).exists():
        assert victim.poll() is None
        time.sleep(0.005)
    victim.kill()
    victim.communicate()
    assert lock_of(out).exists()
    start(bundle, scene, "--out", out).communicate(timeout=120)
    assert left_in(tmp_path) == ["map.qml", "map.stac.json", "map.tif", "scene.tif"]


KILLED_AFTER = """
import os
import bandloom.export.predict.publish as publish
move, moved = publish.move_new, []
def killing(source, final):
    move(source, final)
    moved.append(final)
    if len(moved) == {count}:
        os.kill(os.getpid(), 9)
publish.move_new = killing
"""


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_process_killed_while_files_get_their_names_is_taken_up(bundle, tmp_path, count):
    """The style, the item, and last the map."""
    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    words = ["predict", str(bundle), str(scene), "--out", str(tmp_path / "maps")]
    killing = [sys.executable, "-c", KILLED_AFTER.format(count=count) + PROGRAM, *words]
    assert subprocess.run(killing, capture_output=True, check=False).returncode == -signal.SIGKILL
    visible = [name for name in left_in(tmp_path / "maps") if not name.startswith(".")]
    assert visible == ["scene.qml", "scene.stac.json", "scene.tif"][:count]
    again = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert ("left alone" if count == 3 else "going on from row") in again.stdout
    assert left_in(tmp_path / "maps") == ["scene.qml", "scene.stac.json", "scene.tif"]


@pytest.mark.parametrize("kind", ["table", "change"])
def test_other_outputs_have_one_writer_too(tmp_path, capsys, kind):
    from tests.export.predict.test_map_scene import run

    scene = write_stack(tmp_path / "scene.tif", (60, 60))
    bundle = write_tiny_bundle(tmp_path / "b", tiny_contract(task="classify" if kind == "table" else "segment"))
    out = tmp_path / ("out.json" if kind == "table" else "out.tif")
    words = (scene,) if kind == "table" else ("--change", scene, scene)
    with claimed(out):
        assert run("predict", bundle, *words, "--out", out) == 2
    assert "is being written by process" in capsys.readouterr().err
    assert not out.exists()


def test_claims_of_many_processes_never_overlap(tmp_path):
    """Each reads a number, waits, and writes one more: any overlap loses a step."""
    program = (
        "import sys, time, pathlib\n"
        "from bandloom.errors import BusyOutputError\n"
        "from bandloom.export.predict.claim import claimed\n"
        "out, count, done = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), 0\n"
        "while done < 25:\n"
        "    try:\n"
        "        with claimed(out):\n"
        "            now = int(count.read_text()); time.sleep(0.001); count.write_text(str(now + 1)); done += 1\n"
        "    except BusyOutputError: time.sleep(0.0005)\n"
    )
    (tmp_path / "count").write_text("0")
    words = [sys.executable, "-c", program, str(tmp_path / "out.tif"), str(tmp_path / "count")]
    running = [subprocess.Popen(words) for _ in range(4)]
    assert [process.wait(timeout=240) for process in running] == [0] * 4
    assert (tmp_path / "count").read_text() == "100"
    assert left_in(tmp_path) == ["count"]


def test_a_claim_leaves_nothing_and_refuses_what_is_there(tmp_path):
    out = tmp_path / "deep" / "map.tif"
    with claimed(out), pytest.raises(BusyOutputError), claimed(out):
        pass
    assert left_in(tmp_path) == [], "its folder was made for it"
    out.parent.mkdir()
    out.touch()
    with pytest.raises(OutputError, match="exists already"), claimed(out):
        pass
    assert left_in(out.parent) == ["map.tif"]


def no_locks(descriptor, operation):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def test_where_a_file_system_has_no_locks_the_file_is_the_claim(tmp_path, monkeypatch):
    """The one thing here that is not real: a Lustre without flock cannot be mounted in a test."""
    monkeypatch.setattr(fcntl, "flock", no_locks)
    out = tmp_path / "map.tif"
    with claimed(out), pytest.raises(BusyOutputError, match=f"process {os.getpid()} on"), claimed(out):
        pass
    assert left_in(tmp_path) == []
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock_of(out).write_text(f"{dead.pid} {socket.gethostname()} 01:02:03\n")
    with claimed(out):
        pass  # taken over
    lock_of(out).write_text(f"{dead.pid} another-machine 01:02:03\n")
    with pytest.raises(BusyOutputError, match="on another-machine since 01:02:03"), claimed(out):
        pass


def test_a_folder_that_is_closed_to_writing_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), claimed(tmp_path / "file" / "map.tif"):
        pass


def test_pixels_of_a_map_are_those_without_a_rival(bundle, tmp_path):
    """Started at once, whoever wins: the map is the one that a process alone makes."""
    scene = write_stack(tmp_path / "scene.tif", (240, 120))
    start(bundle, scene, "--out", tmp_path / "alone.tif").communicate(timeout=120)
    both = [start(bundle, scene, "--confidence", "--out", tmp_path / "map.tif") for _ in range(2)]
    said = [run.communicate(timeout=120)[1] for run in both]
    assert sorted(run.returncode for run in both) == [0, 2], said
    assert "Traceback" not in "".join(said)
    with rasterio.open(tmp_path / "map.tif") as one, rasterio.open(tmp_path / "alone.tif") as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))


def test_no_map_is_written_among_the_files_of_a_bundle(tmp_path):
    bundle = tmp_path / "m.bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    with (
        pytest.raises(OutputError, match=r"would lie among the files of the bundle .*choose another --out"),
        claimed(bundle / "map.tif"),
    ):
        pass
    assert [path.name for path in bundle.iterdir()] == ["bundle.json"]
