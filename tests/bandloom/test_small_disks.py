"""Verbs on disks that are full at some point, or read-only: one sentence, nothing half finished, then the same."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio

from bandloom.sensors import get_sensor
from tests.export.tiny_model import tiny_contract, write_tiny_bundle
from tests.view.command import run

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
]
pyogrio, _, _ = map(pytest.importorskip, ("pyogrio", "shapely", "pyarrow"))
TIMES = re.compile(rb'"\d{4}-\d\d-\d\dT[^"]+"|[\d.]+ s\b')  # of writing, in what says so
MAKES = {
    "shards": "shards build {base}/scenes --labels {base}/labels --label-set {base}/label_set.yaml --out {out}",
    "repacked": "shards repack {base}/shards --codec archive --out {out}",
    "prepared": "labels prepare {scene} --form mask --labels {labels} --label-set {base}/label_set.yaml --out {out}",
    "map.tif": "predict {base}/tiny {scene} --png --confidence --out {out}",
    "maps": "predict {base}/tiny {base}/scenes --out {out}",
    "map.gpkg": "polygons {base}/map.tif --out {out}",
    "map.fgb": "polygons {base}/map.tif --out {out}",
    "map.parquet": "polygons {base}/map.tif --out {out}",
    "zones.csv": "zones {base}/map.tif {base}/zones.gpkg --out {out}",
    "zones.gpkg": "zones {base}/map.tif {base}/zones.gpkg --out {out}",
    "map.html": "report {base}/map.tif --out {out}",
    "shards.html": "report {base}/shards --out {out}",
}


def mount(folder: Path, options: str) -> None:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"tmpfs cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture(name="base", scope="module")
def a_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Scenes, labels, shards, a bundle, a map and zones, on a disk that may only be read."""
    base = tmp_path_factory.mktemp("small") / "base"
    mount(base, "size=100m")
    try:
        assert run("shards", "synth", "--out", base / "data", "--scenes", 2, "--size", 240) == 0
        for path in (base / "data").iterdir():
            shutil.move(path, base / path.name)
        assert run(*words("shards", base, base / "shards")) == 0
        write_tiny_bundle(base / "tiny", tiny_contract(get_sensor("sentinel2-l1c")))
        assert run(*words("map.tif", base, base / "map.tif")) == 0
        assert run(*words("map.gpkg", base, base / "zones.gpkg")) == 0
        subprocess.run(["mount", "-o", "remount,ro", base], check=True)
        yield base
    finally:
        subprocess.run(["umount", "-l", base], check=True)


def words(name: str, base: Path, out: Path) -> list[str]:
    scene = min((base / "scenes").iterdir())
    labels = base / "labels" / f"{scene.name}.tif"
    return [word.format(base=base, out=out, scene=scene, labels=labels) for word in MAKES[name].split()]


def held(disk: Path) -> dict[str, str]:
    """Return a digest of every file of a disk whose name is its own: of rasters, of their pixels; not of records."""
    names = [path.relative_to(disk).as_posix() for path in disk.rglob("*") if path.is_file()]
    return {name: digest(disk / name) for name in names if not name.startswith(".") and not name.endswith(".json")}


def digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".tif":  # whose tags name the command
        with rasterio.open(path) as file:
            content = file.read().tobytes()
    elif path.suffix == ".gpkg":  # which says when it was written
        content = repr(pyogrio.raw.read(path)[2:]).encode()
    return hashlib.sha256(TIMES.sub(b"", content)).hexdigest()


def size_of(disk: Path) -> int:
    return sum(path.stat().st_size for path in disk.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", MAKES)
def test_a_full_disk_is_one_sentence_and_the_same_command_makes_the_same_with_room(base, tmp_path, capsys, name):
    roomy, disk = tmp_path / "roomy", tmp_path / "disk"
    roomy.mkdir()
    assert run(*words(name, base, roomy / name)) == 0
    size, command = size_of(roomy), words(name, base, disk / name)
    for share in (0.03, 0.3, 0.6, 0.9, 0.99):
        mount(disk, f"size={max(4096, int(share * size) // 4096 * 4096)}")
        try:
            capsys.readouterr()
            assert run(*command) == 2
            said = capsys.readouterr().err.strip().splitlines()[-1]
            assert re.match(f"error: the disk is full while writing {disk / name.partition('.')[0]}.*; free some", said)
            assert "/." not in said.replace(str(base), "")  # the output, and not what is written on the way
            assert set(held(disk)) <= (
                {f"{name}/{path.name}.tif" for path in base.glob("scenes/*")} if name == "maps" else set()
            )
            subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
            assert run(*command) == 0
            assert held(disk) == held(roomy)
        finally:
            subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("name", MAKES)
def test_a_disk_that_may_only_be_read_is_one_sentence_that_names_the_output(base, tmp_path, capsys, name):
    disk = tmp_path / "disk"
    mount(disk, "size=1m,ro")
    try:
        capsys.readouterr()
        assert run(*words(name, base, disk / name)) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert re.search(f"{disk / name.partition('.')[0]}.* cannot be written.*[Rr]ead-only", said[-1])
        assert not any("Traceback" in line for line in said)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
