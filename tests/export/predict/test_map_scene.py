import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio

from bandloom.cli import main
from bandloom.export.bundle.tiling import Tiling
from bandloom.sensors import get_sensor
from tests.export.stack_file import write_stack
from tests.export.tiny_model import LABELS, tiny_contract, write_tiny_bundle

HOLE = (slice(30, 80), slice(100, 170))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_stack(tmp_path_factory.mktemp("scene") / "scene.tif", (200, 250), hole=HOLE)


def run(*arguments):
    """Return the exit code of a command line."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_map_is_a_cog_that_explains_itself(bundle, scene, tmp_path, capsys):
    out = tmp_path / "map.tif"
    assert run("predict", bundle, scene, "--out", out, "--png", "--confidence", "--probabilities", "--shift-check") == 0
    with rasterio.open(out) as map_file, rasterio.open(scene) as scene_file:
        assert map_file.crs == scene_file.crs
        assert map_file.transform == scene_file.transform
        assert map_file.shape == (200, 250)
        assert map_file.nodata == 255
        assert map_file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        codes = map_file.read(1)
        assert map_file.tags(1)["CLASS_20"] == "crop"
        assert json.loads(map_file.tags()["CLASSES"])[0] == {"value": 10, "name": "water", "colour": "#0000ff"}
        assert map_file.colormap(1)[20] == (255, 255, 0, 255)
        assert map_file.tags()["SENSOR"] == "sentinel2-l1c"
    hole = np.zeros((200, 250), bool)
    hole[HOLE] = True
    assert (codes[hole] == 255).all()
    assert set(np.unique(codes[~hole])) <= set(LABELS.codes)
    with rasterio.open(tmp_path / "map.confidence.tif") as file:
        confidence = file.read(1)
        assert (confidence[hole] == 255).all()
        assert confidence[~hole].max() <= 100
    with rasterio.open(tmp_path / "map.probabilities.tif") as file:
        shares = file.read()
        assert file.descriptions == LABELS.names
    assert np.abs(shares[:, ~hole].astype(int).sum(axis=0) - 100).max() <= 2
    np.testing.assert_array_equal(shares.max(axis=0), confidence)
    with warnings.catch_warnings(action="ignore"), rasterio.open(tmp_path / "map.png") as file:
        assert file.read()[:, 50, 120].tolist() == [0, 0, 0, 0]
        assert file.read(4)[5, 5] == 255
    item = json.loads((tmp_path / "map.stac.json").read_text())
    assert set(item["assets"]) == {"map", "png", "qml", "confidence", "probabilities"}
    assert item["properties"]["datetime"] == "2024-01-02T03:04:05Z"
    assert item["bbox"][0] < item["bbox"][2]
    said = capsys.readouterr().out
    assert "half-tile shift:" in said
    assert "engine" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "map.confidence.tif",
        "map.png",
        "map.probabilities.tif",
        "map.qml",
        "map.stac.json",
        "map.tif",
    ]


def test_a_large_map_has_overviews(bundle, tmp_path):
    scene = write_stack(tmp_path / "wide.tif", (120, 1100))
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif") == 0
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.overviews(1) == [2, 4]


def test_a_scene_of_15_m_samples_gets_a_10_m_map(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "theos", tiny_contract(get_sensor("theos1")))
    path = tmp_path / "scene.tif"
    names = [band.name for group in get_sensor("theos1").groups for band in group.bands]
    profile = {
        "driver": "GTiff",
        "height": 100,
        "width": 41,
        "count": len(names),
        "dtype": "uint16",
        "nodata": 0,
        "crs": "EPSG:32648",
        "transform": rasterio.Affine(15, 0, 600000, 0, -15, 1500000),
    }
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = names
        file.write(np.random.default_rng(0).integers(1010, 4000, (len(names), 100, 41)).astype(np.uint16))
    out = tmp_path / "map.tif"
    assert run("predict", bundle, path, "--out", out, "--sensor", "theos1", "--offset", "-1000") == 0
    with rasterio.open(out) as file:
        assert file.shape == (150, 62)
        assert file.transform == rasterio.Affine(10, 0, 600000, 0, -10, 1500000)
        assert (file.read(1)[:, :61] != 255).all()


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_scene_of_another_sensor_is_refused_and_leaves_nothing(bundle, tmp_path, capsys):
    scene = write_stack(tmp_path / "l2a.tif", (120, 120), sensor="sentinel2-l2a")
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif") == 2
    said = capsys.readouterr().err
    assert "made for 'sentinel2-l1c' (13 bands" in said
    assert said.count("\n") == 1
    assert left_in(tmp_path) == ["l2a.tif"]


def test_an_output_that_exists_is_left_alone(bundle, scene, tmp_path, capsys):
    (tmp_path / "map.tif").write_text("mine")
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif") == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "map.tif").read_text() == "mine"


def test_an_output_that_is_no_geotiff_is_refused(bundle, scene, tmp_path, capsys):
    assert run("predict", bundle, scene, "--out", tmp_path / "map.json") == 2
    assert "ends in .tif" in capsys.readouterr().err
    assert left_in(tmp_path) == []


def test_a_truncated_scene_is_refused_and_leaves_nothing(bundle, scene, tmp_path, capsys):
    cut = tmp_path / "cut.tif"
    cut.write_bytes(scene.read_bytes()[: scene.stat().st_size // 2])
    assert run("predict", bundle, cut, "--out", tmp_path / "map.tif") == 2
    assert "cut.tif" in capsys.readouterr().err
    assert left_in(tmp_path) == ["cut.tif"]


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root")
@pytest.mark.parametrize("size_kb", [40, 700])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(bundle, tmp_path, capsys, size_kb):
    scene = write_stack(tmp_path / "scene.tif", (600, 600))
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", disk], check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        assert run("predict", bundle, scene, "--out", disk / "map.tif", "--png") == 2
        assert "disk is full" in capsys.readouterr().err
        assert left_in(disk) == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # the caught error holds a file open


def test_many_scenes_go_into_a_folder_and_are_shared_out(bundle, tmp_path, capsys):
    (tmp_path / "scenes").mkdir()
    for name in ("a", "b", "c"):
        write_stack(tmp_path / "scenes" / f"{name}.tif", (60, 60))
    assert run("predict", bundle, tmp_path / "scenes", "--out", tmp_path / "maps", "--part", "1/2") == 0
    assert left_in(tmp_path / "maps") == ["a.qml", "a.stac.json", "a.tif", "c.qml", "c.stac.json", "c.tif"]
    assert run("predict", bundle, tmp_path / "scenes", "--out", tmp_path / "maps") == 0
    assert "left alone" in capsys.readouterr().out
    assert (tmp_path / "maps" / "b.tif").exists()
    assert run("predict", bundle, tmp_path / "scenes", "--out", tmp_path / "maps", "--part", "3/2") == 2
    assert "i from 1 to n" in capsys.readouterr().err


def test_one_bad_scene_of_many_does_not_stop_the_others(bundle, scene, tmp_path, capsys):
    (tmp_path / "bad.tif").write_text("no raster")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'bad.tif'}\n{scene}\n")
    assert run("predict", bundle, tmp_path / "list.txt", "--out", tmp_path / "maps") == 2
    assert "1 of 2 scenes failed" in capsys.readouterr().err
    assert left_in(tmp_path / "maps") == ["scene.qml", "scene.stac.json", "scene.tif"]


def test_a_classifier_gives_a_table_of_tiles(scene, tmp_path, capsys):
    bundle = write_tiny_bundle(tmp_path / "classifier", tiny_contract(tiling=Tiling(48), task="classify"))
    assert run("predict", bundle, scene, "--out", tmp_path / "tiles.json") == 0
    tiles = json.loads((tmp_path / "tiles.json").read_text())["features"]
    assert len(tiles) == 5 * 6
    first = tiles[0]["properties"]
    assert first["class"] in LABELS.names
    assert sum(first["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert run("predict", bundle, scene, "--out", tmp_path / "tiles.csv") == 0
    assert len((tmp_path / "tiles.csv").read_text().splitlines()) == 31
    assert run("predict", bundle, scene, "--out", tmp_path / "tiles.tif") == 2
    for option in ("--confidence", "--probabilities", "--png", "--shift-check"):  # of maps: no table holds them
        assert run("predict", bundle, scene, "--out", tmp_path / "more.json", option) == 2
        assert f"classifies whole chips, and {option} is of maps" in capsys.readouterr().err
    assert not (tmp_path / "more.json").exists()


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked!r} or name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
from bandloom.cli import main
try:
    main({arguments!r})
except SystemExit as ended:
    assert ended.code == 0, ended.code
print("peak_kb", open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""  # not getrusage, whose peak begins with what this process held when it started that one
NOT_ON_THE_BOX = (
    "torch",
    "torchvision",
    "timm",
    "safetensors",
    "onnx",
    "onnxscript",
    "blosc2",
    "webdataset",
    "sklearn",
    "matplotlib",
    "scipy",
    "huggingface_hub",
)
READERS_OF_CORPORA = ("bandloom.shards.corpora",)  # one scene is mapped without them


def run_blocked(*arguments, blocked=NOT_ON_THE_BOX) -> int:
    """Run a command line in its own process where some packages cannot be imported; return its peak memory in kB."""
    code = BLOCKED.format(blocked=blocked, arguments=[str(argument) for argument in arguments])
    arenas = os.environ | {"MALLOC_ARENA_MAX": "2"}  # or the peak depends on how threads happened to meet
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=arenas)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split("peak_kb")[1])


def test_predict_and_verify_import_nothing_but_base_dependencies(bundle, scene, tmp_path):
    blocked = NOT_ON_THE_BOX + READERS_OF_CORPORA
    run_blocked("predict", bundle, scene, "--out", tmp_path / "map.tif", "--png", blocked=blocked)
    run_blocked("bundle", "verify", bundle)
    assert (tmp_path / "map.tif").exists()


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_height_of_the_scene(bundle, tmp_path):
    peaks_kb, heights, width = [], (1500, 6000), 600
    for height in heights:
        scene = write_stack(tmp_path / f"{height}.tif", (height, width))
        out = tmp_path / f"map{height}.tif"
        peaks_kb.append(run_blocked("predict", bundle, scene, "--out", out, "--cache-mb", "16"))
    more_kb = (heights[1] - heights[0]) * width * 13 * 2 / 1024  # what the added rows hold; two runs differ by 20 MB
    assert peaks_kb[1] - peaks_kb[0] < more_kb / 2, (peaks_kb, more_kb)


def test_a_killed_run_goes_on_and_ends_with_the_same_pixels(bundle, tmp_path):
    scene = write_stack(tmp_path / "scene.tif", (1500, 600))
    program = "from bandloom.cli import main; main()"
    slow = ("--threads", "1", "--batch", "1", "--out")
    command = [sys.executable, "-c", program, "predict", str(bundle), str(scene), *slow]
    subprocess.run([*command, str(tmp_path / "whole.tif")], check=True, capture_output=True)
    out = tmp_path / "killed.tif"
    victim = subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = tmp_path / ".killed.tif.partial" / "state.json"
    deadline = time.monotonic() + 60
    while not (state.exists() and json.loads(state.read_text())["done_px"] > 300):
        assert victim.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not out.exists()
    again = subprocess.run([*command, str(out)], check=True, capture_output=True, text=True)
    assert "going on from row" in again.stdout + again.stderr
    with rasterio.open(out) as one, rasterio.open(tmp_path / "whole.tif") as other:
        np.testing.assert_array_equal(one.read(1), other.read(1))
    assert not state.parent.exists()


def test_rows_of_other_work_are_not_taken_up(bundle, tmp_path):
    scene = write_stack(tmp_path / "scene.tif", (200, 100), seed=1)
    partial = tmp_path / ".map.tif.partial"
    partial.mkdir()
    (partial / "state.json").write_text(json.dumps({"done_px": 96, "fingerprint": {"work": "another"}}))
    (partial / "class.raw").write_bytes(b"\x07" * 96 * 100)
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif") == 0
    with rasterio.open(tmp_path / "map.tif") as file:
        assert set(np.unique(file.read(1))) <= set(LABELS.codes)


@pytest.mark.slow
def test_predict_runs_where_only_the_base_dependencies_are_installed(bundle, scene, tmp_path):
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    box = tmp_path / "venv" / "bin"
    source = tmp_path / "source"
    shutil.copytree(root, source, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "demo", "*.egg-info"))
    subprocess.run([box / "pip", "install", "-q", source], check=True)
    assert subprocess.run([box / "python", "-c", "import torch"], capture_output=True, check=False).returncode == 1
    subprocess.run([box / "bandloom", "predict", bundle, scene, "--out", tmp_path / "map.tif"], check=True)
    subprocess.run([box / "bandloom", "bundle", "verify", bundle], check=True)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.shape == (200, 250)
    _doctor_on_a_box(box, shutil.copytree(bundle, tmp_path / "engines"))


def _doctor_on_a_box(box, bundle):
    """Build an engine with the NVIDIA packages that can be had without a GPU, and let doctor say what the box lacks."""
    got = subprocess.run([box / "pip", "install", "-q", "tensorrt-rtx>=1.4", "cuda-python>=12.6"], check=False)
    if got.returncode:
        pytest.skip("tensorrt-rtx cannot be installed here; all before it passed")
    build = ("bundle", "build", bundle, "--backend", "tensorrt-rtx", "--compute-capability", "sm_89")
    subprocess.run([box / "bandloom", *build], check=True)
    done = subprocess.run(
        [box / "bandloom", "doctor", "--gpu", "--bundle", bundle], capture_output=True, text=True, check=False
    )
    assert subprocess.run([box / "python", "-c", "import torch"], capture_output=True, check=False).returncode == 1
    lines = {line[7:].split("  ")[0].strip(): line[:4] for line in done.stdout.splitlines() if line[:4] in VERDICTS}
    assert lines["tensorrt-rtx importable"] == "pass"
    assert lines["tensorrt importable"] == "abse"
    assert lines["the bundle"] == "pass"
    if lines["CUDA driver"] == "fail":  # a machine without a GPU
        assert lines["golden, tensorrt-rtx fp32"] == "fail"
        assert done.returncode == 1


VERDICTS = ("pass", "fail", "abse")


@pytest.mark.parametrize("length", [228, 240, 248, 255, 300])
def test_a_name_that_leaves_no_room_for_what_lies_beside_it_is_refused_at_once(bundle, scene, tmp_path, capsys, length):
    out = tmp_path / ("x" * (length - 4) + ".tif")
    assert run("predict", bundle, scene, "--out", out) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: the output's name .* is too long: .* choose a shorter one\.\n", said)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("name", ["map.png", "map.confidence.tif", "map.qml", "map.stac.json", "map.tif"])
def test_a_folder_where_a_file_should_be_is_left_alone(bundle, scene, tmp_path, capsys, name):
    (tmp_path / name).mkdir()
    assert run("predict", bundle, scene, "--out", tmp_path / "map.tif", "--png", "--confidence") == 2
    assert f"{name} exists already" in capsys.readouterr().err
    assert left_in(tmp_path) == [name]


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a read-only disk needs root")
def test_a_read_only_disk_is_not_called_full(bundle, scene, tmp_path, capsys):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,ro", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        for out in ("map.tif", "deep/map.tif", "tiles"):
            assert run("predict", bundle, scene, "--out", tmp_path / out) == 2
            said = capsys.readouterr()
            assert "read-only" in said.err + said.out
            assert "Traceback" not in said.err
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_list_that_is_no_text_is_a_sentence(bundle, scene, tmp_path, capsys):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00scene")
    assert run("predict", bundle, tmp_path / "list.txt", "--out", tmp_path / "maps") == 2
    assert "list.txt cannot be read" in capsys.readouterr().err


def test_the_byte_order_mark_of_a_list_is_no_part_of_its_first_path(bundle, scene, tmp_path):
    (tmp_path / "list.txt").write_text(f"{scene}\n", encoding="utf-8-sig")
    assert run("predict", bundle, tmp_path / "list.txt", "--out", tmp_path / "maps") == 0
    assert (tmp_path / "maps" / "scene.tif").exists()
