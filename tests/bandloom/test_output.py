"""Outputs appear whole or not at all, whatever goes wrong."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from bandloom.errors import OutputError
from bandloom.output import new_output, write_json


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_block_that_ends_well_leaves_the_final_name_alone(tmp_path) -> None:
    with new_output(tmp_path / "deep" / "map.tif") as temporary:
        temporary.write_text("whole")
        assert names(tmp_path / "deep") == [temporary.name]
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
