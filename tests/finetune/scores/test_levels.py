"""CORINE end to end: trained on 44 classes, scored on 44, 15 and 5 by summed probabilities."""

import numpy as np
import pytest
import rasterio
import yaml
from sklearn import metrics as oracle

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.cli import main
from bandloom.errors import ConfigError, LabelError
from bandloom.finetune.data.pixels import PixelData
from bandloom.finetune.data.split_choice import make_split
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.scores.levels import level_mappings
from bandloom.finetune.scores.scoring import predict_role
from bandloom.scores import read_scores
from bandloom.shards.read.shard_set import ShardSet
from tests.finetune.models import task_model

CORINE = (111, 112, 211, 231, 311, 312, 324, 411, 512)  # three of one parent, two of another


def command(*words) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def run(scenes_folder, tmp_path_factory):
    """A model of 44 classes, and the shards of two scenes whose rasters hold CORINE's three-digit codes."""
    root = tmp_path_factory.mktemp("corine")
    (root / "labels").mkdir()
    for path in sorted((scenes_folder / "labels").glob("*.tif")):
        with rasterio.open(path) as raster:
            codes, profile = raster.read(1), raster.profile
        fine = np.array([*CORINE, 999, 999], np.uint16)[np.minimum(codes, 10) % len(CORINE)]
        with rasterio.open(root / "labels" / path.name, "w", **profile | {"dtype": "uint16", "nodata": None}) as raster:
            raster.write(fine, 1)
    words = ["--labels", root / "labels", "--label-set", "corine44", "--side", 60, "--out", root / "shards"]
    main_words = ["shards", "build", scenes_folder / "scenes", *words]
    assert command(*main_words) == 0
    config = {"shards": str(root / "shards"), "size": "demo", "warm_steps": 0, "baselines": ["majority"]}
    config |= {"compare_random": False, "band_drops": False, "bootstrap": 0, "seeds": 1}
    config |= {"split": {"block_m": 600, "buffer_m": 0}, "trainer": {"steps": 3, "batch_size": 4}}
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    assert command("finetune", root / "config.yaml", "--out", root / "run") == 0
    return root


def parents(level: str) -> list[int]:
    """The place of every fine class among a level's, by the digits of CORINE's own codes."""
    digits = [land_class.id[: 2 if level == "corine15" else 1] for land_class in get_taxonomy("corine44").classes]
    return [[land_class.id for land_class in get_taxonomy(level).classes].index(digit) for digit in digits]


def test_a_model_of_44_classes_is_scored_on_three_levels(run, tmp_path, capsys):
    levels = ["--level", "corine15", "--level", "corine5"]
    assert command("evaluate", run / "run", run / "shards", *levels, "--bootstrap", 0, "--out", tmp_path / "out") == 0
    assert "corine5: summed probabilities: accuracy" in " ".join(capsys.readouterr().out.split())
    record, model = read_scores(tmp_path / "out" / "metrics.json"), load_task_model(run / "run" / "checkpoint")
    assert len(record.label_set["classes"]) == 44
    shards = ShardSet(run / "shards")
    sensor = next(iter(shards.sensors.values()))
    data = PixelData(shards, make_split(SplitConfig(block_m=600, buffer_m=0), shards, PixelData, sensor), sensor)
    truth, logits = [], []
    for prediction in predict_role("m", model, data, 2):
        known = prediction.sample.label != 255
        truth.append(prediction.sample.label[known])
        logits.append(prediction.logits[:, known].T.astype(np.float64))
    truth, logits = np.concatenate(truth), np.concatenate(logits) / model.temperature
    probability = np.exp(logits - logits.max(1, keepdims=True))
    probability /= probability.sum(1, keepdims=True)
    rows = {row.name: row for row in record.levels}
    assert len(rows) == 4
    for level, count in (("corine15", 15), ("corine5", 5)):
        parent = np.array(parents(level))
        summed = np.stack([probability[:, parent == k].sum(1) for k in range(count)], 1)
        row = rows[f"{level}: summed probabilities"]
        assert row.scores["overall"] == pytest.approx(oracle.accuracy_score(parent[truth], summed.argmax(1)), abs=2e-3)
        assert row.scored_on == len(truth)
        likeliest = rows[f"{level}: class of the likeliest"].scores["overall"]
        assert likeliest == pytest.approx(oracle.accuracy_score(parent[truth], parent[probability.argmax(1)]), abs=2e-3)


def test_a_level_that_no_mapping_reaches_is_refused(run, tmp_path, capsys):
    assert command("evaluate", run / "run", run / "shards", "--level", "eurosat10", "--out", tmp_path / "out") == 2
    assert "no mapping leads from 'corine44' to 'eurosat10'" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(ConfigError, match="--level is for one class"):
        level_mappings(task_model("multilabel", chip_px=12), ("corine5",))
    with pytest.raises(LabelError, match="no mapping leads"):
        level_mappings(task_model("segment"), ("corine5",))
