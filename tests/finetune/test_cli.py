"""The verbs probe, baselines and evaluate, as they are typed."""

import re

import pytest

from bandloom.cli import main
from bandloom.run_state.markers import read_marker
from bandloom.scores import read_scores

FEW = (
    "trainer.steps=2",
    "trainer.batch_size=4",
    "trainer.workers=0",
    "size=demo",
    "bootstrap=50",
    "warm_steps=5",
    "chip_px=24",
)


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture(name="config")
def a_config(tmp_path, chip_shards):
    path = tmp_path / "config.yaml"
    path.write_text(f"shards: {chip_shards}\ntask: classify\nsplit: {{block_m: 1200, buffer_m: 0}}\n")
    return path


def rows(folder) -> list[str]:
    return [row.name for row in read_scores(folder / "metrics.json").rows]


def test_a_probe_is_scored_beside_random_weights_fewer_bands_and_baselines(tmp_path, config, encoder_folder, capsys):
    words = (config, f"checkpoint={encoder_folder}", *FEW, "baselines=[majority]", "--few-shot")
    assert run("probe", *words, "--out", tmp_path / "out") == 0
    assert rows(tmp_path / "out") == [
        "linear",
        "20 neighbours",
        "attention",
        "linear, random weights",
        "linear, 10m bands",
        "linear, RGB bands",
        "majority",
    ]
    record = read_scores(tmp_path / "out" / "metrics.json")
    curve = record.few_shot
    assert [point["shots"] for point in curve] == [1, 5, 10, 50, 0.01, 0.1, 1.0]
    assert curve[0]["encoder"] < curve[-1]["encoder"]
    assert {"features-13.npz", "features-RGB.npz", "metrics.json"} <= {p.name for p in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    assert run("probe", *words, "--out", tmp_path / "out") == 0
    assert "features read from" in capsys.readouterr().out


def test_a_probe_of_a_map_scores_tokens(tmp_path, scene_shards, encoder_folder):
    config = tmp_path / "config.yaml"
    config.write_text(f"shards: {scene_shards}\ncheckpoint: {encoder_folder}\n")
    assert run("probe", config, *FEW, "baselines=[majority]", "--out", tmp_path / "out") == 0
    record = read_scores(tmp_path / "out" / "metrics.json")
    assert record.unit == "token"
    assert "attention" not in rows(tmp_path / "out")
    assert record.rows[0].scores["macro_f1"] > record.rows[-1].scores["macro_f1"]


def test_every_baseline_named_is_scored_on_the_same_labels(tmp_path, config):
    only = "stats_linear_svm,random_conv,random_vit,efficientnet_b0"
    assert run("baselines", config, *FEW, "--only", only, "--out", tmp_path / "out") == 0
    record = read_scores(tmp_path / "out" / "metrics.json")
    assert sorted(rows(tmp_path / "out")) == sorted(only.split(","))
    assert len({row.scored_on for row in record.rows}) == 1
    assert record.rows[0].name == "stats_linear_svm"


def test_baselines_that_are_asked_to_stop_keep_what_is_done_and_go_on(tmp_path, config, monkeypatch):
    monkeypatch.setenv("BANDLOOM_ATTEMPT", "1.0")
    words = ("baselines", config, *FEW, "--only", "majority,stats_linear_svm", "--out", tmp_path / "out")
    folder = tmp_path / "out" / "attempts" / "1.0"
    folder.mkdir(parents=True)
    (folder / "STOP").touch()
    assert run(*words) == 75
    assert read_marker(folder / "end")["reason"] == "stopped"
    assert read_marker(folder / "heartbeat")["stage"]
    assert not (tmp_path / "out" / "metrics.json").exists()
    (folder / "STOP").unlink()
    (tmp_path / "out" / "KILL").touch()
    assert run(*words) == 2  # as `bandloom slurm stop` leaves it
    (tmp_path / "out" / "KILL").unlink()
    assert run(*words) == 0
    assert sorted(rows(tmp_path / "out")) == ["majority", "stats_linear_svm"]
    assert (tmp_path / "out" / "DONE").exists()
    assert not (tmp_path / "out" / "pieces").exists()


def test_a_map_has_a_u_net_among_its_baselines(tmp_path, scene_shards):
    config = tmp_path / "config.yaml"
    config.write_text(f"shards: {scene_shards}\n")
    assert run("baselines", config, *FEW, "--only", "majority,unet", "--out", tmp_path / "out") == 0
    assert rows(tmp_path / "out") == ["majority", "unet"]


def test_a_model_is_scored_again_on_its_own_test_ground(tmp_path, config, chip_shards, capsys):
    few = ("seeds=1", "compare_random=false", "baselines=[majority]", "curve_points=0")
    assert run("finetune", config, *FEW, *few, "--out", tmp_path / "run") == 0
    assert run("evaluate", tmp_path / "run", chip_shards, "--out", tmp_path / "again") == 0
    before, after = (read_scores(tmp_path / name / "metrics.json") for name in ("run", "again"))
    assert after.confusion == before.confusion
    assert after.split["hash"] == before.split["hash"]
    assert after.calibration["after"] == before.calibration["after"]
    assert run("evaluate", tmp_path / "run", chip_shards, "--ground", "all", "--out", tmp_path / "all") == 0
    whole = read_scores(tmp_path / "all" / "metrics.json")
    assert whole.rows[0].scored_on > after.rows[0].scored_on
    assert whole.split["kind"] == "all"
    capsys.readouterr()
    assert run("evaluate", tmp_path / "run", chip_shards, "--out", tmp_path / "all") == 2
    assert "exists already" in capsys.readouterr().err
    path = tmp_path / "run" / "checkpoint" / "config.json"
    path.write_text(path.read_text().replace('"trees"', '"heath"', 1))
    assert run("evaluate", tmp_path / "run", chip_shards, "--out", tmp_path / "other") == 2
    assert "the model knows heath" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("baselines", "CONFIG", "--only", "resnet5O"), r"no baseline 'resnet5O'.*Did you mean 'resnet50'"),
        (("baselines", "CONFIG", "--external", "nowhere"), r"nowhere is no checkpoint"),
        (("probe", "CONFIG", "checkpoint=nowhere"), r"nowhere is no checkpoint"),
        (("evaluate", "nowhere", "SHARDS"), r"nowhere is no checkpoint"),
        (("evaluate", "ENCODER", "SHARDS"), r"not a fine-tuned model"),
        (("evaluate", "nowhere", "SHARDS", "--ground", "mine"), r"--ground 'mine' is not known"),
    ],
)
def test_bad_input_is_one_sentence_and_an_untouched_disk(
    tmp_path, config, chip_shards, encoder_folder, capsys, words, said
):
    names = {"CONFIG": str(config), "SHARDS": str(chip_shards), "ENCODER": str(encoder_folder)}
    assert run(*(names.get(word, word) for word in words), "--out", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert re.search(said, message), message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--bootstrap", "-1"), ("--batch-size", "0")])
def test_a_number_that_evaluate_cannot_take_is_refused_by_its_option(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "run", "shards", *option, "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    assert option[0] in capsys.readouterr().err
