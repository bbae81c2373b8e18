"""The folders stand at the top and are imported from bandloom: a user's own files of their names break nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bandloom.doctor import _shadowed
from bandloom.run_state.run_folder import commit

ROOT = Path(__file__).parents[1]
ROOMS = ("shards", "pretrain", "finetune", "export", "slurm", "view")
PROBE = """
import bandloom, bandloom.cli, bandloom.export.predict.map_scene, bandloom.shards.scenes, bandloom.view.report
import bandloom.slurm.cli, bandloom.finetune.labels.cli, bandloom.pretrain.config
from bandloom import open_scene
print(bandloom.__file__)
"""


def python(folder: Path, *arguments: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Start Python in a folder that comes first in ``sys.path``, as a notebook's does."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{path}"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A user's folder with files and folders of every room's name; importing one of them is an error."""
    for room in ROOMS:
        (tmp_path / f"{room}.py").write_text("raise SystemExit('a file of the user was imported')\n")
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise SystemExit('a folder of the user was imported')\n")
    for name in ("cli", "config", "tests", "benchmarks", "sensors", "values"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')\n")
    return tmp_path


def test_files_and_folders_of_a_user_with_our_folders_names_break_nothing(crowded: Path):
    found = python(crowded, "-c", PROBE)
    assert found.returncode == 0, found.stdout + found.stderr
    assert Path(found.stdout.strip()).resolve() == ROOT / "bandloom" / "__init__.py"


def test_the_command_runs_in_such_a_folder(crowded: Path):
    found = python(crowded, "-m", "bandloom.cli", "shards", "synth", "--out", "made", "--scenes", "1", "--size", "60")
    assert found.returncode == 0, found.stdout + found.stderr
    assert (crowded / "made" / "label_set.yaml").is_file()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_reached_through_a_link_and_through_it_alone(room: str):
    link = ROOT / "bandloom" / room
    assert link.is_symlink()
    assert os.readlink(link) == f"../{room}"


def test_a_checkout_that_lost_its_links_says_so(tmp_path: Path):
    (tmp_path / "bandloom").mkdir()
    (tmp_path / "bandloom" / "__init__.py").write_text((ROOT / "bandloom" / "__init__.py").read_text())
    (tmp_path / "bandloom" / "shards").write_text("../shards")  # what a zip download leaves
    found = python(tmp_path, "-c", "import bandloom")
    assert found.returncode == 1
    assert "has lost its links" in found.stderr
    assert "git clone" in found.stderr


def test_doctor_names_what_hides_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert _shadowed() == "nothing"
    (tmp_path / "numpy.py").touch()
    (tmp_path / "bandloom").mkdir()
    (tmp_path / "bandloom" / "__init__.py").touch()
    (tmp_path / "shards.py").touch()
    assert _shadowed() == "./numpy.py hides numpy: rename it; ./bandloom hides bandloom: rename it"
    monkeypatch.chdir(ROOT)
    assert _shadowed() == "nothing"


def test_the_commit_is_this_projects_own_or_none(tmp_path: Path):
    for words in (
        ["init", "-q"],
        ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    inside = tmp_path / "venv" / "site-packages"
    inside.mkdir(parents=True)
    for file in (ROOT / "bandloom").rglob("*.py"):
        copy = inside / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text())
    (inside / "bandloom" / "shards").mkdir(exist_ok=True)
    ask = "from bandloom.run_state.run_folder import commit; print(commit())"
    found = python(tmp_path, "-c", ask, path=inside)
    assert found.stdout.strip() == "None", found.stderr
    (inside / "SNAPSHOT.json").write_text('{"version": "0.1.0", "commit": "abcdefabcdefabcdef", "difference": "x"}')
    assert python(tmp_path, "-c", ask, path=inside).stdout.strip() == "abcdefabcdef+"
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert (commit() or "").rstrip("+") == head.strip()[:12]
