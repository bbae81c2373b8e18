"""What the operating system refuses is one sentence, by real refusals."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

from bandloom.command_line.os_errors import sentence_of

WITHOUT_PRIVILEGE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override"]


def refused(*command: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user whom permissions bind; root is bound by none."""
    bound = WITHOUT_PRIVILEGE if os.geteuid() == 0 else []
    line = [*bound, sys.executable, "-m", "bandloom.cli", *command]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.fixture
def closed(tmp_path):
    """A folder in which nothing may be made."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize(("verb", "name"), [("demo", "new"), ("qgis", "new.zip")])
def test_a_folder_that_takes_nothing_is_one_sentence(verb, name, closed):
    ended = refused(verb, "--out", str(closed / name))
    assert ended.returncode == 2, ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert last == f"error: {closed / name} cannot be written (Permission denied); choose another place."
    assert "Traceback" not in ended.stderr
    assert not list(closed.iterdir())


def test_a_run_that_cannot_make_its_folder_is_one_sentence(closed):
    code = (
        "import bandloom.cli; from pathlib import Path; from bandloom.run_state.run_folder import RunFolder\n"
        "from bandloom.command_line.config import Config\n"
        f"bandloom.cli.bandloom = lambda **_: RunFolder(Path({str(closed / 'run')!r})).start(Config())\n"
        "bandloom.cli.main(['x'])"
    )
    bound = WITHOUT_PRIVILEGE if os.geteuid() == 0 else []
    ended = subprocess.run([*bound, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr == f"error: {closed / 'run'} cannot be written (Permission denied); choose another place.\n"


def test_a_file_that_may_not_be_read_is_told_from_one_that_may_not_be_written(tmp_path):
    secret = tmp_path / "config.yaml"
    secret.write_text("shards: nowhere\n")
    secret.chmod(0)
    code = (
        f"import bandloom.cli, pathlib; bandloom.cli.bandloom = lambda **_: pathlib.Path({str(secret)!r}).read_text()"
    )
    bound = WITHOUT_PRIVILEGE if os.geteuid() == 0 else []
    line = [*bound, sys.executable, "-c", f"{code}; bandloom.cli.main(['x'])"]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert f"error: {secret} cannot be read (Permission denied); change who may read it" in ended.stderr


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file/under", "Not a directory"),
        ("folder", "Is a directory"),
        ("absent/file", "No such file or directory"),
        ("x" * 300, "is too long"),
    ],
)
def test_other_refusals_name_the_path_and_the_reason(tmp_path: Path, place, why):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError) as refusal:  # noqa: PT011
        (tmp_path / place).open("w")
    said = sentence_of(refusal.value)
    assert said is not None
    assert why in said
    assert place[:20] in said


def test_a_disk_that_fails_without_naming_a_file_is_said_too(tmp_path: Path):
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError) as refusal:  # noqa: PT011
        full.write(b"x")
    assert refusal.value.filename is None
    assert "No space left on device" in str(sentence_of(refusal.value))
    with pytest.raises(rasterio.errors.RasterioIOError) as refusal, rasterio.open(tmp_path / "absent.tif"):
        pass
    assert "absent.tif" in str(sentence_of(refusal.value))


def test_what_is_about_no_file_is_left_alone():
    with pytest.raises(OSError) as refusal:  # noqa: PT011
        os.write(os.pipe()[0], b"x")
    assert refusal.value.errno == errno.EBADF
    assert sentence_of(refusal.value) is None
