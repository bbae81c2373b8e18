import logging

import numpy as np
import pytest
import torch

from bandloom.cli import main
from bandloom.errors import TextError
from bandloom.finetune.fusion.checkpoint import load_fusion
from bandloom.finetune.fusion.config import FusionConfig, is_fusion
from bandloom.finetune.fusion.run import prepare
from bandloom.finetune.fusion.table import verdict
from bandloom.scores import read_scores
from bandloom.shards.read.shard_set import ShardSet
from benchmarks.planted_context import write_context

FEW = (
    "size=demo",
    "steps=60",
    "width=32",
    "seeds=2",
    "bootstrap=200",
    "fusion=[concatenate,cross_attention]",
    "split.block_m=600",
    "split.buffer_m=0",
    "baselines=[majority]",
)
NOTES = (
    "The gauge was read.",
    "Birds were counted.",
    "Trucks pass.",
    "Dust is a complaint.",
    "Owls call.",
    "It rained.",
    "Bees came.",
    "A dog barked.",
    "Rust spread.",
    "The gate is new.",
    "Fog rose.",
    "A kite flew.",
)


@pytest.fixture(scope="module")
def told(tmp_path_factory, chip_shards):
    """Contexts that tell the class to the letter, contexts that know nothing, and vectors of every whole context."""
    folder, shards = tmp_path_factory.mktemp("told"), ShardSet(chip_shards)
    rng = np.random.default_rng(0)
    keys = [entry.key for entry in shards.entries]
    write_context(folder / "tells.csv", {e.key: NOTES[e.class_index] for e in shards.entries})
    write_context(folder / "knows_nothing.csv", {key: str(rng.choice(NOTES)) for key in keys})
    np.savez(folder / "notes.npz", texts=np.array(NOTES), vectors=rng.normal(size=(len(NOTES), 16)))
    return folder


def run(tmp_path, shards, told, name: str, *overrides: str) -> int:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"task: fusion\nshards: {shards}\ncontext: {{source: csv, path: {told / name}}}\n"
        f"text: {{model: {told / 'notes.npz'}}}\n"
    )
    few = ["image." + each if each.startswith("size") else each for each in FEW]
    with pytest.raises(SystemExit) as end:
        main(["finetune", str(config), *few, *overrides, "--out", str(tmp_path / "run")])
    return int(end.value.code or 0)


def test_every_control_stands_in_one_table_and_a_context_that_tells_is_warned_of(tmp_path, chip_shards, told, caplog):
    with caplog.at_level(logging.INFO, "bandloom"):
        assert run(tmp_path, chip_shards, told, "tells.csv") == 0
    report = read_scores(tmp_path / "run" / "metrics.json")
    rows = {row.name: row for row in report.rows}
    assert list(rows)[:4] == [
        "concatenate, real text",
        "concatenate, shuffled text",
        "concatenate, empty text",
        "concatenate, real text, shuffled at the test",
    ]
    assert {"text only", "image only", "majority"} < set(rows)
    assert report.task == "fusion"
    fused = [row for name, row in rows.items() if name != "majority"]
    assert all(row.seeds == (0, 1) and len(row.by_seed["macro_f1"]) == 2 for row in fused)
    assert rows["text only"].scores["overall"] > 0.9
    assert rows["concatenate, real text"].scores["overall"] > 0.9
    for kind in ("concatenate", "cross_attention"):
        real, dealt = (
            rows[f"{kind}, {name}"].scores["overall"] for name in ("real text", "real text, shuffled at the test")
        )
        assert real > dealt
    assert "a linear probe on the context alone reaches" in report.leaks["warnings"][0]
    assert all(
        set(gain) == {"fusion", "blocks", "real over image", "real over shuffled", "shuffled over empty"}
        for gain in report.gains
    )
    assert (tmp_path / "run" / "context.json").is_file()


def test_a_context_that_knows_nothing_gains_nothing_and_a_run_goes_on(tmp_path, chip_shards, told, encoder_folder):
    few = (f"image.checkpoint={encoder_folder}", "fusion=[film]", "seeds=1", "steps=60")
    assert run(tmp_path, chip_shards, told, "knows_nothing.csv", *few) == 0
    path = tmp_path / "run" / "metrics.json"
    report = read_scores(path)
    assert report.leaks["warnings"] == []
    assert report.leaks["text_only_mean_recall"] < 0.5
    assert "context adds +" not in report.verdicts[0]
    fits = sorted((tmp_path / "run" / "fits").iterdir())
    assert [fit.name for fit in fits] == ["film-0.npz", "image-0.npz", "text-0.npz"]
    fits[1].unlink()
    kept = fits[0].stat().st_mtime_ns
    path.unlink()
    assert run(tmp_path, chip_shards, told, "knows_nothing.csv", *few) == 0
    again = read_scores(path)
    assert [row.scores for row in again.rows] == [row.scores for row in report.rows]
    assert fits[0].stat().st_mtime_ns == kept


@pytest.mark.parametrize("network", ["vit", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_a_network_that_trains_is_saved_and_comes_back(tmp_path, chip_shards, told, network):
    few = ("image.mode=full", f"image.network={network}", "fusion=[concatenate]", "seeds=1", "steps=2", "batch_size=8")
    assert run(tmp_path, chip_shards, told, "tells.csv", *few) == 0
    fused = load_fusion(tmp_path / "run")
    shards = ShardSet(chip_shards)
    assert fused.label_set == shards.label_set
    report = read_scores(tmp_path / "run" / "metrics.json")
    config = FusionConfig.model_validate(
        {
            "shards": chip_shards,
            "context": {"source": "csv", "path": told / "tells.csv"},
            "text": {"model": str(told / "notes.npz")},
            "split": {"block_m": 600, "buffer_m": 0},
        }
    )
    study = prepare(config)
    test = study.chips.rows(2)
    groups = [shards.read(int(study.chips.indices[row])).groups for row in test]
    stacked = {gsd: torch.from_numpy(np.stack([group[gsd] for group in groups])) for gsd in groups[0]}
    said = fused.logits(stacked, [study.texts[row] for row in test]).argmax(1).numpy()
    with np.load(tmp_path / "run" / "fits" / "concatenate-0.npz") as held:
        assert (said == held["concatenate, real text"]).all()
    assert report.image == {"network": network, "mode": "full", "weights": "random"}
    np.savez(told / "other.npz", texts=np.array(NOTES), vectors=np.ones((len(NOTES), 16)))
    with pytest.raises(TextError, match="another text model"):
        load_fusion(tmp_path / "run", str(told / "other.npz"))


def test_what_cannot_be_fused_is_a_sentence_and_writes_nothing(tmp_path, chip_shards, scene_shards, told, capsys):
    for shards, override, said in (
        (chip_shards, "baselines=[nothing]", "there is no baseline 'nothing'"),
        (chip_shards, "text.model=/none", "/none does not exist"),
        (scene_shards, "seeds=1", "task=classify needs"),
        (chip_shards, "fusion=[]", "fusion"),
        (chip_shards, "image.netwrok=vit", "unknown key"),
    ):
        assert run(tmp_path, shards, told, "tells.csv", override) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_the_task_is_read_from_the_config_or_an_override(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("task: fusion\n")
    assert is_fusion(path, [])
    assert not is_fusion(path, ["task=segment"])
    path.write_text("shards: x\n")
    assert is_fusion(path, ["task=fusion"])
    assert not is_fusion(path, [])
    assert not is_fusion(tmp_path / "none.yaml", [])


def test_the_verdict_says_what_the_controls_allow():
    def gain(low: float, high: float) -> dict:
        return {"macro_f1": {"gain": (low + high) / 2, "interval_95": [low, high]}}

    good = {
        "fusion": "film",
        "real over image": gain(0.02, 0.1),
        "real over shuffled": gain(0.01, 0.1),
        "shuffled over empty": gain(-0.05, 0.04),
        "blocks": 20,
    }
    assert verdict(good, []).startswith("film: context adds +0.060 (+0.020 to +0.100)")
    assert "shuffled text adds nothing" in verdict(good, [])
    assert "gives the class away" in verdict(good, ["named"])
    assert "not surely more than shuffled text does" in verdict(good | {"real over shuffled": gain(-0.01, 0.1)}, [])
    assert "adds nothing beyond" in verdict(good | {"real over image": gain(-0.01, 0.1)}, [])
    assert "lie in 3 blocks, too few" in verdict(good | {"blocks": 3}, [])
    assert "a leak, or luck" in verdict(good | {"shuffled over empty": gain(0.01, 0.04)}, [])
