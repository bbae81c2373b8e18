"""What is shipped: the wheel and the source distribution hold every file once, and an installed one works anywhere."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("bandloom", "shards", "pretrain", "finetune", "export", "slurm", "view")

pytestmark = pytest.mark.slow


def tracked() -> set[str]:
    """Every file of the product, by where it is imported from; links are not files."""
    listed = subprocess.run(["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not listed:
        pytest.skip("not a git checkout")
    names = [name for name in listed.split("\n") if name and not (ROOT / name).is_symlink()]
    return {name if name.startswith("bandloom/") else f"bandloom/{name}" for name in names}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pytest.importorskip("hatchling", reason="hatchling is not installed; pip install 'bandloom[dev]'")
    out = tmp_path_factory.mktemp("dist")
    for target in ("wheel", "sdist"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def test_the_wheel_holds_every_file_once_and_installs_one_name(built: tuple[Path, Path]):
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
        tops = {name.partition("/")[0] for name in names}
        code = {name for name in names if name.startswith("bandloom/") and not name.startswith("bandloom/view/vendor/")}
        assert code == tracked()
        assert max(Counter(names).values()) == 1
        assert len(tops) == 2  # bandloom and its dist-info
        assert not any(info.external_attr >> 28 == 0o12 for info in wheel.infolist())  # no links


def test_the_source_distribution_gives_the_same_wheel(built: tuple[Path, Path], tmp_path: Path):
    with tarfile.open(built[1]) as source:
        assert not [member.name for member in source.getmembers() if member.issym()]
        source.extractall(tmp_path, filter="data")
    [unpacked] = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=unpacked, check=True, capture_output=True)
    with zipfile.ZipFile(built[0]) as one, zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as two:
        assert {each.filename: each.CRC for each in one.infolist()} == {
            each.filename: each.CRC for each in two.infolist()
        }


def test_an_installed_wheel_works_in_a_folder_of_files_with_our_names(built: tuple[Path, Path], tmp_path: Path):
    """The other packages are this environment's; bandloom itself comes from the wheel alone."""
    place = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(place),
        str(built[0]),
    ]
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(path.name for path in place.iterdir() if not path.name.endswith(".dist-info")) == ["bandloom", "bin"]
    user = tmp_path / "notebook"
    user.mkdir()
    for name in ("export.py", "view.py", "slurm.py"):
        (user / name).write_text("raise SystemExit('a file of the user was imported')\n")
    environment = {**os.environ, "PYTHONPATH": f"{user}{os.pathsep}{place}", "PATH": str(user)}  # no sbatch, no git

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "bandloom.cli", *words]
        done = subprocess.run(command, cwd=user, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = "import bandloom; print(bandloom.__file__)"
    said = subprocess.run([sys.executable, "-c", where], cwd=user, env=environment, capture_output=True, text=True)
    assert Path(said.stdout.strip()).is_relative_to(place)
    assert "commit unknown: no checkout" in run("doctor", "--no-torch")
    run("shards", "synth", "--out", "data", "--scenes", "2", "--size", "120")
    run(
        "shards",
        "build",
        "data/scenes",
        "--labels",
        "data/labels",
        "--label-set",
        "data/label_set.yaml",
        "--out",
        "shards",
    )
    run("report", "shards", "--out", "report.html")  # templates
    run("shards", "show", "shards")
    assert "dynamic-world" in run("labels", "list") or "worldcover" in run("labels", "list")  # label sets
    script = run(
        "slurm", "array", "--parts", "2", "--dry-run", "shards", "build", "x", "--out", "y"
    )  # templates, profiles
    assert "#SBATCH --array=0-1" in script
    recipe = place / "bandloom" / "pretrain" / "recipes" / "laptop.yaml"
    run("pretrain", str(recipe), "shards=shards", "--dry-run")
