"""Two commands of one output: the second is refused at once, whatever the verb, and nothing is left behind."""

import fcntl
import socket
import subprocess
import sys

import pytest

from bandloom.errors import OutputError
from bandloom.files.output import new_output, one_writer, sole_writer
from bandloom.files.output_lock import lock_of
from tests.export.maps.maps import codes_of_a_map, write_map
from tests.view.command import run

# verb: its words before --out, and the ending of what it writes; inputs that are only asked for later need not be there
WORDS = {
    "embed": (("embed", "absent", "absent.tif"), ".tif"),
    "polygons": (("polygons", "map.tif"), ".gpkg"),
    "zones": (("zones", "map.tif", "absent.gpkg"), ".csv"),
    "clusters": (("similar", "absent.tif", "--clusters", "3"), ".tif"),
    "sample": (("assess", "sample", "map.tif"), ".csv"),
    "suggest": (("labels", "suggest", "absent", "absent.tif"), ".csv"),
    "prepare": (("labels", "prepare", ".", "--form", "folders", "--label-set", "worldcover11"), ""),
    "lucas": (("labels", "lucas", "absent.csv"), ".csv"),
    "export": (("export", "absent"), ""),
}


@pytest.mark.parametrize("verb", WORDS)
def test_a_second_command_is_refused_before_it_works(tmp_path, capsys, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    write_map(tmp_path / "map.tif", codes_of_a_map())
    words, ending = WORDS[verb]
    out = tmp_path / f"out{ending}"
    with lock_of(out).open("w") as other:  # as another process would have it
        fcntl.flock(other, fcntl.LOCK_EX)
        before = {path.name for path in tmp_path.iterdir()}
        assert run(*words, "--out", out) == 2
        assert {path.name for path in tmp_path.iterdir()} == before
    said = capsys.readouterr().err
    assert said == f"error: {out} is being written by another process; wait for it, or choose another name.\n"


def test_of_two_embeddings_of_one_name_the_second_names_the_first(tmp_path):
    """A real process holds the output, and its end gives it back."""
    out = tmp_path / "e.tif"
    program = (
        "import sys, pathlib\nfrom bandloom.files.output import sole_writer\n"
        "with sole_writer(pathlib.Path(sys.argv[1])): print('at work', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", program, str(out)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "at work\n"
        who = f"by process {holder.pid} on {socket.gethostname()}"
        with pytest.raises(OutputError, match=who), sole_writer(out):
            pass
        holder.communicate("")
    with sole_writer(out), new_output(out) as temporary:  # one's own lock is in nobody's way
        temporary.write_text("made")
    assert [path.name for path in tmp_path.iterdir()] == ["e.tif"]


def test_folders_made_for_what_was_refused_go_again(tmp_path):
    (tmp_path / "there").mkdir()

    @one_writer
    def refused(out):
        raise ValueError(out)

    for out in (tmp_path / "a" / "b" / "out.tif", tmp_path / "there" / "out.tif"):
        with pytest.raises(ValueError, match=r"out\.tif"):
            refused(out)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_lock_that_cannot_be_signed_does_not_stay(tmp_path):
    program = (
        "import pathlib, resource, sys\n"
        "from bandloom.errors import OutputError\n"
        "from bandloom.files.output import sole_writer\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n"
        "    with sole_writer(pathlib.Path(sys.argv[1])): print('at work')\n"
        "except OutputError as error: print(error)\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "out.tif")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "is larger than a file may be here (ulimit -f)" in said
    assert not list(tmp_path.iterdir())
