"""What the code of before the move left still opens, goes on and says the same: tests/fixtures/before_the_move."""

import csv
import hashlib
import json
import platform
import shutil
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from safetensors.numpy import load_file

from bandloom.cli import main
from bandloom.errors import BandloomError
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.from_torch.export_run import contract_of_model
from bandloom.export.from_torch.tile_sizes import default_tiling
from bandloom.export.runtimes.choose import load_runner
from bandloom.export.runtimes.verify import verify as verify_bundle
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.model.checkpoint import load_encoder
from bandloom.model.encoder import SIZES
from bandloom.scores import read_scores
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.read.verify import verify

ARCHIVE = Path(__file__).parent / "fixtures" / "before_the_move" / "artefacts.tar.xz"
SCENE = "synth/scenes/scene_00003"
SCORED = ("segment", "classify", "change")
LEFT = ("shards", "pretrain", *SCORED, "multilabel", "align", "bundle", "chip_bundle", "map.tif")


@pytest.fixture(scope="module", name="before")
def unpacked_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(name="here", autouse=True)
def stand_in_a_copy(before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand where the old paths hold (``shards: shards``), in a copy that may be written to."""
    here = tmp_path / "before"
    shutil.copytree(before, here)
    monkeypatch.chdir(here)
    monkeypatch.setitem(SIZES, "demo", {"embed_dim": 16, "depth": 1, "num_heads": 1})  # as make.py did
    return here


def bandloom(*words: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert not end.value.code, words


def expected() -> dict[str, Any]:
    return json.loads(Path("expected.json").read_text())


def machine() -> dict[str, str]:
    cpus = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    here = {"cpu": cpus[0] if cpus else "", "instructions": torch.backends.cpu.get_cpu_capability()}
    packages = {name: version(name) for name in ("torch", "numpy", "scikit-learn", "blosc2", "onnxruntime")}
    return here | {"system": platform.machine()} | packages


def check_losses(run: str, of: str) -> None:
    """Hold every step's loss to the recorded one: to the bit where it was recorded, to five digits elsewhere."""
    lines = map(json.loads, Path(run, "metrics.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    if machine() == expected()["machine"]:
        assert losses == expected()["losses"][of]
    else:
        assert losses == pytest.approx(expected()["losses"][of], rel=1e-5)


@pytest.mark.parametrize("name", ["shards", "chips", "pair_shards"])
def test_old_shards_are_whole_down_to_every_array(name: str):
    assert verify(name, deep=True) == []
    shards = ShardSet(Path(name))
    assert len(shards) == len((Path(name) / "samples.jsonl").read_text().splitlines())
    assert shards.read(0).groups[10].dtype == np.uint16


def test_the_same_scene_gives_the_same_shard_bytes():
    labels = ("--labels", "synth/labels", "--label-set", "synth/label_set.yaml")
    bandloom("shards", "build", "synth/scenes", *labels, "--side", 36, "--out", "again")
    tar, old = next(Path("again").glob("*.tar")), ShardSet(Path("shards"))
    if version("blosc2") == expected()["machine"]["blosc2"]:
        assert hashlib.sha256(tar.read_bytes()).hexdigest() == expected()["tars"]["shards"]
    again = ShardSet(Path("again"))
    assert again.entries == old.entries
    assert again.statistics == old.statistics
    for index in range(len(old)):
        sample, same = old.read(index), again.read(index)
        assert all(np.array_equal(sample.groups[gsd], same.groups[gsd]) for gsd in sample.groups)
        assert np.array_equal(sample.label, same.label)


def test_an_interrupted_pretraining_goes_on_with_the_losses_it_would_have_had():
    bandloom("pretrain", "--resume", "interrupted")
    check_losses("interrupted", of="pretrain")
    resumed = load_file("interrupted/checkpoint/model.safetensors")
    straight = load_file("pretrain/checkpoint/model.safetensors")
    assert resumed.keys() == straight.keys()
    for name in straight:
        assert np.allclose(resumed[name], straight[name], rtol=1e-4, atol=1e-6), name


def test_the_same_seed_pretrains_with_the_same_losses():
    bandloom("pretrain", "pretrain/config.yaml", "--out", "again")
    check_losses("again", of="pretrain")
    assert load_encoder(Path("pretrain/checkpoint")).config == load_encoder(Path("again/checkpoint")).config


@pytest.mark.parametrize(
    "run", ["multilabel"]
)  # heads of maps and of chips of one class are fitted by other recipes since
def test_the_same_seed_fine_tunes_with_the_same_losses(run: str):
    bandloom("finetune", f"{run}/config.yaml", "band_drops=false", "--out", "again")
    check_losses("again", of=run)


def test_the_same_seed_aligns_with_the_same_losses():
    bandloom("align", "align/config.yaml", "--out", "again")
    check_losses("again", of="align")


@pytest.mark.parametrize("run", SCORED)
def test_an_old_model_has_the_scores_it_had(run: str):
    config = Path(run, "config.yaml").read_text()
    shards = next(line.split()[1] for line in config.splitlines() if line.startswith("shards:"))
    bandloom("evaluate", run, shards, "--bootstrap", 20, "--out", "again")
    was, now = (read_scores(Path(name) / "metrics.json") for name in (f"{run}_evaluated", "again"))
    assert was.confusion == now.confusion
    assert was.rows[0].scores == pytest.approx(now.rows[0].scores)


def test_an_old_multilabel_model_loads():
    model = load_task_model(Path("multilabel/checkpoint"))
    classes = json.loads(Path("multilabel/metrics.json").read_text())["label_set"]["classes"]
    assert [land_class.name for land_class in model.label_set.classes] == [land_class["name"] for land_class in classes]
    assert model.thresholds is not None


def test_the_same_model_has_the_same_contract():
    model = load_task_model(Path("segment/checkpoint"))
    digest = contract_of_model(model, default_tiling(model)).digest()
    assert digest == expected()["contract_digest"] == read_bundle(Path("bundle")).contract.digest()


@pytest.mark.parametrize("name", ["bundle", "chip_bundle"])
def test_an_old_bundle_is_whole_and_reproduces_its_golden_chips(name: str):
    runner = verify_bundle(read_bundle(Path(name)), "fp32", runtime="onnxruntime-cpu")
    assert runner.name.startswith("onnxruntime")


def test_old_int8_answers_rightly_or_is_refused_in_a_sentence():
    bundle, refused = read_bundle(Path("bundle")), None
    try:
        load_runner(bundle, "int8", runtime="onnxruntime-cpu")
    except BandloomError as error:
        refused = str(error)
    assert refused is None or "golden" in refused


def test_an_old_bundle_maps_a_scene_as_it_did():
    bandloom("predict", "bundle", SCENE, "--out", "again.tif", "--precision", "fp32", "--runtime", "onnxruntime-cpu")
    with rasterio.open("map.tif") as was, rasterio.open("again.tif") as now:
        assert (was.crs, was.transform, was.dtypes) == (now.crs, now.transform, now.dtypes)
        assert np.mean(was.read() == now.read()) >= (1.0 if machine() == expected()["machine"] else 0.999)


def test_an_old_aligned_model_scores_chips_against_words_as_it_did():
    bandloom("zeroshot", "align", "--classes", "lake,trees,snow", "--images", "chips", "--out", "again.csv")
    was, now = (list(csv.reader(Path(name).read_text().splitlines())) for name in ("zeroshot.csv", "again.csv"))
    assert was[0] == now[0]
    for row, again in zip(was[1:], now[1:], strict=True):
        assert row[:4] == again[:4]
        assert [float(score) for score in row[5:]] == pytest.approx([float(score) for score in again[5:]], abs=2e-5)


@pytest.mark.parametrize("left", LEFT)
def test_a_report_is_written_of_everything_that_was_left(left: str):
    bandloom("report", left, "--out", "report.html")
    page = Path("report.html").read_text()
    assert "<html" in page
    if left in SCORED:
        rows = json.loads(Path(left, "metrics.json").read_text())["rows"]
        assert all(row["name"] in page for row in rows)
