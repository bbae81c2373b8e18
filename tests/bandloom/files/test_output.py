"""Outputs appear whole or not at all, whatever goes wrong."""

import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bandloom.errors import OutputError
from bandloom.files.output import disk_refusal, new_output, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_block_that_ends_well_leaves_the_final_name_alone(tmp_path) -> None:
    with new_output(tmp_path / "deep" / "map.tif") as temporary:
        temporary.write_text("whole")
        assert names(tmp_path / "deep") == [".map.tif.lock", temporary.name]
    assert names(tmp_path / "deep") == ["map.tif"]


def test_a_block_that_fails_leaves_nothing(tmp_path) -> None:
    with pytest.raises(KeyError), new_output(tmp_path / "out", folder=True) as temporary:  # noqa: PT012
        (temporary / "half").write_text("x")
        raise KeyError
    assert names(tmp_path) == []


def test_what_exists_is_not_touched(tmp_path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="exists already"), new_output(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_a_neighbour_that_cannot_be_synced_does_not_matter(tmp_path) -> None:
    with socket.socket(socket.AF_UNIX) as neighbour:
        neighbour.bind(str(tmp_path / "socket"))
        write_json(tmp_path / "a.json", {"a": 1})
    assert (tmp_path / "a.json").exists()


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_written_anew_stays_as_it_was_where_the_last_step_fails(tmp_path, monkeypatch, folder) -> None:
    path = tmp_path / "labels"
    old = path / "one" if folder else path
    old.parent.mkdir(exist_ok=True)
    old.write_text("thirty answers")
    rename, given = os.rename, {"names": 0}

    def fails(source: Path, target: Path) -> None:
        if target == path and (not folder or not given["names"]):
            given["names"] += 1
            raise OSError(errno.EIO, "Input/output error", str(target))
        rename(source, target)

    monkeypatch.setattr(os, "replace", fails)
    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(OutputError), new_output(path, folder=folder, overwrite=True) as temporary:
        (temporary / "one" if folder else temporary).write_text("one answer")
    assert given["names"] == 1
    assert names(tmp_path) == ["labels"]
    assert old.read_text() == "thirty answers"


@pytest.mark.parametrize(("before", "after"), [(False, False), (False, True), (True, False), (True, True)])
def test_a_file_or_folder_takes_the_place_of_either(tmp_path, before, after) -> None:
    path = tmp_path / "out"
    for folder, text in ((before, "old"), (after, "new")):
        with new_output(path, folder=folder, overwrite=True) as temporary:
            (temporary / text if folder else temporary).write_text(text)
    assert names(tmp_path) == ["out"]
    assert (path / "new" if after else path).read_text() == "new"


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path) -> None:
    (tmp_path / "far").write_text("far")
    (tmp_path / "out").symlink_to("far")
    with new_output(tmp_path / "out", overwrite=True) as temporary:
        temporary.write_text("new")
    assert not (tmp_path / "out").is_symlink()
    assert (tmp_path / "far").read_text() == "far"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        with pytest.raises(OutputError, match="the disk is full"), new_output(tmp_path / "big") as temporary:
            temporary.write_bytes(bytes(200_000))
        assert names(tmp_path) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("folder", [False, True])
def test_what_another_process_wrote_meanwhile_is_not_replaced(tmp_path, folder) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="another process meanwhile"), new_output(out, folder=folder) as own:  # noqa: PT012
        for place, words in ((own, "ours"), (out, "theirs")):
            if folder:
                place.mkdir(exist_ok=True)
            (place / "x" if folder else place).write_text(words)
    assert (out / "x" if folder else out).read_text() == "theirs"
    assert names(tmp_path) == ["out"]


def test_two_processes_at_once_leave_one_whole_output_and_one_sentence(tmp_path) -> None:
    program = (
        "import sys, time, pathlib, bandloom.files.output as o, bandloom.errors as e\n"
        "path, go = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])\n"
        "try:\n"
        "    with o.new_output(path) as t:\n"
        "        t.write_text(sys.argv[3])\n"
        "        while not go.exists(): time.sleep(0.01)\n"
        "except e.OutputError as said: sys.exit(str(said))\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "out"), str(tmp_path / "go"), word],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for word in ("one", "two")
    ]
    (tmp_path / "go").touch()
    said = [run.communicate()[1] for run in both]
    assert sorted(run.returncode for run in both) == [0, 1]
    winner = [run.returncode for run in both].index(0)
    assert (tmp_path / "out").read_text() == ("one", "two")[winner]
    assert re.search("is being written by process|exists already", said[1 - winner])
    assert "Traceback" not in said[1 - winner]
    assert names(tmp_path) == ["go", "out"]


def test_what_comes_to_lie_there_without_a_lock_is_not_replaced(tmp_path) -> None:
    with (  # noqa: PT012
        pytest.raises(OutputError, match="was written by another process meanwhile"),
        new_output(tmp_path / "out") as temporary,
    ):
        temporary.write_text("ours")
        (tmp_path / "out").write_text("somebody's")
    assert (tmp_path / "out").read_text() == "somebody's"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("length", [232, 240, 250, 255, 300])
def test_a_name_that_is_too_long_is_a_sentence(tmp_path, length) -> None:
    with pytest.raises(OutputError, match=f"has {length} bytes.*choose a shorter one"):
        new_output(tmp_path / ("x" * length)).__enter__()
    if length > 232:  # nothing is promised where an output may be replaced, but the system's own limit is a sentence
        with (
            pytest.raises(OutputError, match=f"has {length} bytes"),
            new_output(tmp_path / ("x" * length), overwrite=True) as temporary,
        ):
            temporary.write_text("x")
    assert names(tmp_path) == []


def test_a_name_of_letters_that_take_three_bytes_counts_its_bytes(tmp_path) -> None:
    with pytest.raises(OutputError, match="has 240 bytes"), new_output(tmp_path / ("แ" * 80)):
        pass


@pytest.mark.parametrize(
    ("name", "why"),
    [("file/under/it", "Not a directory"), ("loop/x", r"cannot be written \(")],
)
def test_a_place_that_cannot_be_is_a_sentence(tmp_path, name, why) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match=why), new_output(tmp_path / name):
        pass


def test_a_link_that_leads_nowhere_is_left_alone(tmp_path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OutputError, match="exists already"), new_output(tmp_path / "link"):
        pass
    assert (tmp_path / "link").is_symlink()


def test_an_error_about_another_file_passes(tmp_path) -> None:
    with pytest.raises(FileNotFoundError), new_output(tmp_path / "out"):
        (tmp_path / "input").read_text()


def test_a_copy_that_the_disk_refuses_accuses_where_it_was_to_go(tmp_path) -> None:
    out, source = tmp_path / "out", tmp_path / "elsewhere" / "a.npz"
    with pytest.raises(OutputError, match=f"full while writing {out};"), new_output(out, folder=True) as temporary:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(temporary / "a.npz"))


def test_a_part_of_a_folder_that_the_disk_refuses_is_told_by_its_final_name(tmp_path) -> None:
    out = tmp_path / "out"
    with (
        pytest.raises(OutputError, match=f"while writing {out}/part;"),
        new_output(out, folder=True) as temporary,
        new_output(temporary / "part"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_of_what_ends_a_download_the_disk_is_told_from_the_network(tmp_path) -> None:
    hidden = RuntimeError("the download broke off")
    hidden.__cause__ = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "cache" / "a.incomplete"))
    assert str(disk_refusal(tmp_path / "a", hidden)).startswith(
        f"the disk is full while writing {tmp_path / 'cache' / 'a.incomplete'};"
    )
    unnamed = disk_refusal(tmp_path / "a", OSError(errno.ENOSPC, "No space left on device"))
    assert str(unnamed).startswith(f"the disk is full while writing {tmp_path / 'a'};")
    for other in (OSError(errno.ECONNRESET, "reset"), RuntimeError("403: permission denied"), ValueError("404")):
        assert disk_refusal(tmp_path / "a", other) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a read-only disk needs root")
def test_a_read_only_file_system_is_not_called_full(tmp_path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,ro", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        for overwrite in (False, True):
            with (
                pytest.raises(OutputError, match="its file system is read-only"),
                new_output(tmp_path / "big", overwrite=overwrite) as temporary,
            ):
                temporary.write_bytes(b"x")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
