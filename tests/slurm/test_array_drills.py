"""Work in parts on a real Slurm: one element is killed, and what comes out is what one machine makes alone."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from cluster import Cluster
from conftest import small_profile
from rasterio.transform import from_origin
from trainers import BANDLOOM

from bandloom.sensors import get_sensor
from tests.export.tiny_model import write_tiny_bundle

pytestmark = pytest.mark.timeout(1800)

KILLED_ONCE = """#!/bin/bash
# the bandloom command, but part {part} is killed with -9 the first time, a moment after it began
case " $* " in
  *" --part {part} "*)
    if mkdir {mark} 2> /dev/null; then
      {bandloom} "$@" &
      until [ -n "$(ls -A {out} 2> /dev/null)" ] || ! kill -0 $! 2> /dev/null; do sleep 0.05; done
      kill -9 $!
      wait $!
    fi
    ;;
esac
exec {bandloom} "$@"
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.tar"))}


def told(folder: Path) -> dict[str, object]:
    """Return a manifest without the command that wrote it, and the seal over that command."""
    record = json.loads((folder / "manifest.json").read_text())
    return {key: value for key, value in record.items() if key not in ("command", "seal")}


def run_array(cluster: Cluster, tmp_path: Path, parts: int, out: Path, *command: str) -> Path:
    """Run a verb as an array whose element 2 is killed once; return where its markers are."""
    program = tmp_path / "bandloom"
    program.write_text(KILLED_ONCE.format(part=f"2/{parts}", mark=tmp_path / "killed", bandloom=BANDLOOM, out=out))
    program.chmod(0o755)
    profile = tmp_path / "profile.yaml"
    profile.write_text(small_profile(program=str(program), max_failures=2).to_yaml())
    said = subprocess.run(
        [BANDLOOM, "slurm", "array", "--parts", str(parts), "--profile", str(profile), *command],
        text=True,
        capture_output=True,
    )
    assert said.returncode == 0, said.stderr
    marks = out.with_name(f"{out.name}.array") / "parts"
    cluster.wait_until(lambda: len(list(marks.glob("*/DONE"))) == parts, 900, f"{parts} parts in {marks}")
    assert (tmp_path / "killed").exists()
    return marks


@pytest.mark.drill
def test_an_array_of_shard_builds_with_one_element_killed_gives_the_tars_of_one_machine(cluster, shards, tmp_path):
    scenes = shards.parent / "synth" / "scenes"
    out = tmp_path / "tars"
    run_array(cluster, tmp_path, 4, out, "shards", "build", str(scenes), "--split", "train", "--out", str(out))
    subprocess.run([BANDLOOM, "shards", "finalize", "--out", str(out)], check=True, capture_output=True)
    assert contents(out) == contents(shards)
    assert told(out) == told(shards)


def write_stack(path: Path, seed: int) -> None:
    """Write a 13-band GeoTIFF of 1.2 km a side, all at 10 m."""
    names = [band.name for band in get_sensor("sentinel2-l1c").bands]
    values = np.random.default_rng(seed).integers(1000, 5000, (len(names), 120, 120), dtype=np.uint16)
    place = {"crs": "EPSG:32631", "transform": from_origin(500_000 + 6_000 * seed, 5_000_040, 10, 10), "nodata": 0}
    with rasterio.open(path, "w", "GTiff", 120, 120, len(names), dtype="uint16", **place) as out:
        out.write(values)
        out.descriptions = names


@pytest.mark.drill
def test_an_array_of_predictions_with_one_element_killed_maps_every_scene_once(cluster, tmp_path):
    bundle = write_tiny_bundle(tmp_path / "bundle")
    scenes, alone, out = (tmp_path / name for name in ("scenes", "alone", "maps"))
    scenes.mkdir()
    for seed in range(8):
        write_stack(scenes / f"scene_{seed}.tif", seed)
    mapped = ("predict", str(bundle), str(scenes), "--offset", "0", "--out")  # drawn values prove no offset
    subprocess.run([BANDLOOM, *mapped, str(alone)], check=True, capture_output=True)
    marks = run_array(cluster, tmp_path, 4, out, *mapped, str(out))
    assert sorted(path.name for path in out.glob("*.tif")) == sorted(path.name for path in alone.glob("*.tif"))
    assert len(list(out.glob("*.tif"))) == 8
    for path in out.glob("*.tif"):
        with rasterio.open(path) as made, rasterio.open(alone / path.name) as expected:
            assert (made.read() == expected.read()).all()
    assert len(list(marks.glob("*/DONE"))) == 4
