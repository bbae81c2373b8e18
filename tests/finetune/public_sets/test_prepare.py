"""From a folder as it was fetched to a scored model, by two commands; stopped builds, damage and mistakes."""

import json

import pytest
import yaml

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.cli import main
from bandloom.errors import ConfigError, LabelError, OutputError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.experiment import open_data
from bandloom.finetune.public_sets.prepare import SetRequest, examine_set, prepare_set
from bandloom.finetune.public_sets.registry import SETS
from bandloom.scores import read_scores
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.read.verify import verify
from tests.finetune.public_sets.replicas import eurosat_ms


def command(*words) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    root = tmp_path_factory.mktemp("chips") / "EuroSAT"
    eurosat_ms.write(root, 8, side=12)
    return root


def test_two_commands_lead_to_scores_under_the_published_split(chips, tmp_path, capsys):
    assert command("labels", "prepare", chips, "--form", "auto", "--out", tmp_path / "set") == 0
    said = capsys.readouterr().out
    assert "published split spatial: test 7, train 8, val 8" in said
    assert f"next: bandloom finetune {tmp_path}/set/finetune.yaml" in said
    few = ["trainer.steps=2", "trainer.batch_size=4", "size=demo", "baselines=[majority]", "compare_random=false"]
    few += ["bootstrap=0", "band_drops=false", "seeds=1", "split.published=spatial"]
    assert command("finetune", tmp_path / "set" / "finetune.yaml", *few, "--out", tmp_path / "run") == 0
    record = read_scores(tmp_path / "run" / "metrics.json")
    assert record.split["kind"] == "published: spatial"
    assert {role: sum(of.values()) for role, of in record.split["labels"].items()} == {"train": 8, "val": 8, "test": 7}


def test_the_config_is_whole_and_the_shards_are_sealed(chips, tmp_path):
    manifest = prepare_set(SetRequest("eurosat-ms", chips), tmp_path / "set")
    config = FinetuneConfig(**yaml.safe_load((tmp_path / "set" / "finetune.yaml").read_text()))
    assert open_data(config).labels_in(0) == 7
    assert verify(tmp_path / "set" / "shards", deep=True) == []
    assert manifest["unsettled"]
    with pytest.raises(OutputError, match="exists already"):
        prepare_set(SetRequest("eurosat-ms", chips), tmp_path / "set")
    split = config.split.model_copy(update={"published": "spatail"})
    with pytest.raises(ConfigError, match="carry random, spatial"):
        open_data(config.model_copy(update={"split": split}))


def test_parts_and_a_build_that_was_stopped_give_the_same_bytes(chips, tmp_path, monkeypatch):
    from bandloom.shards.build import plan

    monkeypatch.setattr(plan, "UNIT_SAMPLES", 7)
    request = SetRequest("eurosat-ms", chips)
    prepare_set(request, tmp_path / "once")
    for number in range(3):
        prepare_set(request, tmp_path / "parts", part=(number, 3), finish=False)
    prepare_set(request, tmp_path / "parts")
    one, two = (ShardSet(tmp_path / name / "shards").manifest for name in ("once", "parts"))
    assert len(one["shards"]) > 2
    assert one["shards"] == two["shards"]
    assert one["statistics"] == two["statistics"]


def test_everything_that_is_wrong_is_listed_before_a_build(chips, tmp_path, capsys):
    assert examine_set(SetRequest("eurosat-ms", chips)).errors == []
    assert command("labels", "check", chips, "--form", "eurosat-ms") == 0
    assert "samples are in no list" in capsys.readouterr().out
    for words, what in (
        (("--form", "sen1floods11"), "holds no Sen1Floods11"),
        (("--form", "eurosat-ms", "--take", "median"), "knows no choice"),
        (("--form", "eurosat-ms", "--label-set", "corine44"), "is not what EuroSAT-MS is labelled in"),
        (("--form", "folders"), "needs --label-set"),
        (("--form", "eurosatms"), "is not known"),
    ):
        assert command("labels", "prepare", chips, *words, "--out", tmp_path / "out") == 2
        assert what in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_known_set_is_refused(tmp_path):
    with pytest.raises(LabelError, match="does not exist"):
        prepare_set(SetRequest("eurosat-ms", tmp_path / "none"), tmp_path / "out")
    assert command("labels", "prepare", tmp_path, "--form", "auto", "--out", tmp_path / "out") == 2


@pytest.mark.parametrize("form", SETS)
def test_every_record_is_complete(form):
    facts = SETS[form].facts
    assert facts.form == form
    json.dumps(facts.to_dict())
    for name in (facts.label_set, *facts.label_sets):
        assert len(get_taxonomy(name).classes) > 1
    assert facts.side_px % 6 == 0
    assert facts.splits
    for words in (facts.title, facts.licence, facts.source, facts.size, facts.pixels, facts.layout):
        assert words
