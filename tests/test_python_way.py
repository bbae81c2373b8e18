"""What Python callers start from: four names, lazily; the page about them runs as it stands."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

import bandloom
from bandloom import Bundle, load_encoder, load_model, open_scene
from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.errors import CheckpointError, SceneError
from bandloom.export.predict.many_scenes import predict_scenes
from bandloom.export.predict.options import PredictOptions
from bandloom.model.checkpoint import save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.pretrain.embed import embed
from bandloom.rasters.values import dn_to_reflectance
from bandloom.sensors import SENSORS, SLOTS, get_sensor
from bandloom.shards.scenes.in_memory import array_scene
from bandloom.shards.synth.write import write_scenes
from tests.export.from_torch.test_export_run import exported_once, task_model, write_run

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"
HEAVY = "{'numpy', 'rasterio', 'torch', 'typer', 'rich', 'pydantic', 'yaml'}"
SEVERAL = LabelSet("several", (LabelClass(1, "water"), LabelClass(4, "crop"), LabelClass(9, "town")))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the page names: a scene, a fine-tuned run, its bundle, and an encoder's run."""
    folder = tmp_path_factory.mktemp("python")
    write_scenes(folder / "synth", 1, 120, 0)
    (folder / "scene").symlink_to(next((folder / "synth/scenes").iterdir()))
    torch.manual_seed(0)
    statistics = Statistics(mean=dict.fromkeys(SLOTS, 0.1), std=dict.fromkeys(SLOTS, 0.1))
    encoder = Encoder(EncoderConfig(embed_dim=16, depth=1, num_heads=1), statistics).eval()
    save_encoder(folder / "runs/encoder/checkpoint", encoder, [SENSORS["sentinel2-l1c"]], {})
    for name in ("runs/landcover", "landcover.bundle"):
        shutil.copytree(exported_once(tmp_path_factory) / name, folder / name)
    return folder


def test_the_page_runs_as_it_stands(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(place)
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert "sentinel2-l1c EPSG:32601 {10: (4, 120, 120), 20: (6, 60, 60), 60: (3, 20, 20)}" in said
    assert any(line.startswith("(16, 20, 20) | 60.00, 0.00") for line in said)


def test_importing_the_package_imports_nothing_else():
    code = f"import sys, bandloom; sys.exit(', '.join({HEAVY} & set(sys.modules)) or 0)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == 0, finished.stderr


def test_a_bundle_and_a_scene_need_no_torch(place: Path):
    code = (
        "import sys; from bandloom import Bundle, open_scene; Bundle('landcover.bundle').predict('scene');"
        " sys.exit('torch' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=place, check=False)
    assert finished.returncode == 0, finished.stderr


def test_the_names_are_listed_and_a_wrong_one_is_no_attribute():
    assert {"Bundle", "load_encoder", "load_model", "open_scene"} <= set(dir(bandloom))
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        _ = bandloom.load_modle  # type: ignore[attr-defined]


def test_the_stub_names_what_is_lazily_there():
    stub = (ROOT / "bandloom" / "__init__.pyi").read_text()
    told = dict(re.findall(r"^from (\S+) import (\w+) as \2$", stub, re.MULTILINE))
    assert {name: module for module, name in told.items()} == bandloom._PUBLIC


def test_a_map_in_memory_is_the_map_that_predict_writes(place: Path, tmp_path: Path):
    options = PredictOptions(probabilities=True)
    list(predict_scenes(place / "landcover.bundle", [str(place / "scene")], tmp_path / "map.tif", options))
    found = Bundle(place / "landcover.bundle").predict(place / "scene", probabilities=True)
    with rasterio.open(tmp_path / "map.tif") as written, rasterio.open(tmp_path / "map.probabilities.tif") as shares:
        assert np.array_equal(found.classes, written.read(1))
        assert found.crs == written.crs
        assert found.transform == written.transform
        assert found.probabilities is not None
        np.testing.assert_allclose(found.probabilities * 100, shares.read().astype(np.float32), atol=0.51)
    assert len(np.unique(found.classes)) > 1


def test_torch_maps_as_the_bundle_does(place: Path):
    ours, theirs = load_model(place / "runs/landcover"), Bundle(place / "landcover.bundle")
    one, two = (each.predict(place / "scene", probabilities=True) for each in (ours, theirs))
    assert (one.classes == two.classes).mean() > 0.999
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-4)  # type: ignore[arg-type]


def test_a_path_an_opened_scene_its_groups_and_its_reflectance_give_one_answer(place: Path):
    model, encoder = load_model(place / "runs/landcover"), load_encoder(place / "runs/encoder")
    with open_scene(place / "scene") as scene:
        groups = scene.read((0, 0, 1200, 1200))
        opened = model.predict(scene).classes, encoder.features(scene).values
        assert scene.read((0, 0, 60, 60))[10].shape == (4, 6, 6)  # still open
    by_name = {}
    for group in get_sensor("sentinel2-l1c").groups:
        fine = dn_to_reflectance(groups[group.gsd_m]).repeat(group.gsd_m // 10, 1).repeat(group.gsd_m // 10, 2)
        by_name |= dict(zip((band.name for band in group.bands), fine, strict=True))
    reflectance = np.stack([by_name[band.name] for band in get_sensor("sentinel2-l1c").bands])
    for given in (place / "scene", groups, reflectance):
        assert np.array_equal(model.predict(given).classes, opened[0])
        assert np.array_equal(encoder.features(given).values, opened[1], equal_nan=True)


def test_features_in_memory_are_those_that_embed_writes(place: Path, tmp_path: Path):
    with rasterio.open(embed(place / "runs/encoder/checkpoint", place / "scene", tmp_path / "f.tif")) as written:
        found = load_encoder(place / "runs/encoder").features(place / "scene")
        assert np.array_equal(found.values, written.read(), equal_nan=True)
        assert (found.crs, found.transform) == (written.crs, written.transform)


@pytest.mark.parametrize("task", ["classify", "multilabel"])
def test_a_model_of_tiles_gives_a_pixel_a_tile(place: Path, tmp_path: Path, task: str):
    model = load_model(write_run(tmp_path / "run", task_model(task=task, labels=SEVERAL)))
    found = model.predict(place / "scene", probabilities=True)
    assert found.probabilities is not None
    assert found.probabilities.shape == (3, 4, 4)  # 1,200 m in tiles of 360 m, the last ones padded
    assert found.transform.a == 360
    with open_scene(place / "scene") as scene:
        logits = model.runner.run({g: dn[None] for g, dn in scene.read((360, 720, 360, 360)).items()})[0]
    if task == "classify":
        raised = np.exp(logits - logits.max())
        np.testing.assert_allclose(found.probabilities[:, 2, 1], raised / raised.sum(), rtol=1e-4)
        assert found.classes[2, 1] == (1, 4, 9)[logits.argmax()]
    else:
        np.testing.assert_allclose(found.probabilities[:, 2, 1], 1 / (1 + np.exp(-logits)), rtol=1e-4)
        assert found.classes.dtype == bool
        assert np.array_equal(found.classes[:, 2, 1], logits >= 0)


def test_what_was_not_measured_has_no_class_and_no_features(place: Path):
    reflectance = np.full((13, 60, 120), 0.2, np.float32)
    reflectance[:, :, 60:] = np.nan
    found = load_model(place / "runs/landcover").predict(reflectance, probabilities=True)
    assert found.probabilities is not None
    assert (found.classes[:, 60:] == 255).all()
    assert np.isnan(found.probabilities[:, :, 60:]).all()
    assert (found.classes[:, :60] != 255).all()
    assert not found.crs
    values = load_encoder(place / "runs/encoder").features(reflectance).values
    assert np.isnan(values[:, :, 10:]).all()
    assert np.isfinite(values[:, :, :10]).all()


def test_an_array_that_is_no_multiple_of_a_cell_is_filled_up_and_cut_again(place: Path):
    found = load_model(place / "runs/landcover").predict(np.full((13, 47, 64), 0.2, np.float32))
    assert found.classes.shape == (47, 64)
    assert (found.classes != 255).all()


def test_an_array_with_a_place_keeps_it(place: Path):
    transform = rasterio.transform.from_origin(600000, 1500000, 10, 10)
    scene = array_scene(np.full((13, 60, 60), 0.2), "sentinel2-l1c", crs="EPSG:32647", transform=transform)
    assert scene.footprint == pytest.approx((99.9, 13.56, 99.93, 13.57), abs=0.03)
    found = load_model(place / "runs/landcover").predict(scene)
    assert (found.crs.to_epsg(), found.transform) == (32647, transform)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((13, 60, 60), np.uint16), "holds uint16, which does not say its scale"),
        (
            np.zeros((4, 60, 60), np.float32),
            r"\(4, 60, 60\); expected \(bands, rows, columns\) with the 13 bands",
        ),
        (np.zeros((60, 60, 13), np.float32), r"shape \(60, 60, 13\)"),
        ({10: np.zeros((4, 60, 60), np.uint16)}, r"groups of \[10\] m; 'sentinel2-l1c' has groups of \[10, 20, 60\]"),
        (
            {10: np.zeros((4, 60, 60), "u2"), 20: np.zeros((6, 30, 30), "u2"), 60: np.zeros((3, 10, 11), "u2")},
            r"group of 60 m is uint16 \(3, 10, 11\); expected uint16 \(3, 10, 10\)",
        ),
        (
            {10: np.zeros((4, 60, 60), "f4"), 20: np.zeros((6, 30, 30), "f4"), 60: np.zeros((3, 10, 10), "f4")},
            "group of 10 m is float32",
        ),
    ],
)
def test_an_array_that_is_not_understood_is_refused(place: Path, array: object, said: str):
    with pytest.raises(SceneError, match=said):
        load_encoder(place / "runs/encoder").features(array)  # type: ignore[arg-type]


def test_a_model_of_one_date_refuses_two_and_a_run_without_a_model_says_so(place: Path, tmp_path: Path):
    from bandloom.errors import BundleError

    with pytest.raises(BundleError, match=r"takes 1 date.* was given 2; pass predict\(scene\)"):
        load_model(place / "runs/landcover").predict("scene", "scene")
    with pytest.raises(CheckpointError, match="has no finished checkpoint"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        load_encoder(tmp_path)
    with pytest.raises(CheckpointError, match="not a fine-tuned model"):
        load_model(place / "runs/encoder")


def test_a_model_of_two_dates_takes_both(place: Path, tmp_path: Path):
    model = load_model(write_run(tmp_path / "run", task_model(task="change", labels=SEVERAL)))
    found = model.predict(place / "scene", place / "scene")
    with open_scene(place / "scene") as scene:
        again = model.predict(scene, scene)
    assert found.classes.shape == (120, 120)
    assert np.array_equal(found.classes, again.classes)
