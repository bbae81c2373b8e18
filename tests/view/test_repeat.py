"""The command in a report makes the folder again."""

from pathlib import Path

import pytest

from bandloom.view.records import read_record
from bandloom.view.repeat import build_command, export_command, predict_command, run_command
from tests.view.command import run


def test_the_command_of_a_shard_folder_builds_the_same_samples(chain: Path, tmp_path: Path):
    """The one that was typed, and the one that is made up where none was kept."""
    record = read_record(chain / "shards")
    made_up = build_command(chain / "shards", record.result)
    for number, words in enumerate((record.command, made_up)):
        assert words[:3] == ["bandloom", "shards", "build"]
        out = tmp_path / str(number)
        named = [str(chain / "data/scenes") if word == "SCENES" else word for word in words[1:]]
        assert run(*(out if word == str(chain / "shards") else word for word in named)) == 0
        assert (out / "samples.jsonl").read_bytes() == (chain / "shards" / "samples.jsonl").read_bytes()
    assert record.typed
    assert record.command[3:5] == [str(chain / "data/scenes"), "--labels"]


def test_a_folder_without_a_command_is_given_one():
    manifest = {"sources": {"a": {"source": "a.tif"}}, "options": {"side_px": 120, "codec": "default"}}
    words = ["bandloom", "shards", "build", "a.tif", "--side", "120", "--out", "s"]
    assert build_command(Path("s"), manifest) == words
    bundle = {"models": [{"precision": "fp32"}, {"precision": "int8"}], "provenance": {"checkpoint": "run"}}
    words = ["bandloom", "export", "run", "--out", "b", "--precision", "fp32,int8"]
    assert export_command(Path("b"), bundle) == words


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        (["bandloom", "finetune", "a.yaml"], ["bandloom", "finetune", "a.yaml"]),
        (["/venv/bin/bandloom", "probe", "a"], ["bandloom", "probe", "a"]),
        (["/src/bandloom/cli.py", "probe", "a"], ["bandloom", "probe", "a"]),
        (["train.py", "--fast"], ["python", "train.py", "--fast"]),
        ([], []),
    ],
)
def test_a_runs_command_is_that_of_the_program_or_of_the_code_that_called_it(kept, shown):
    assert run_command({"command": kept}) == shown


def test_the_commands_of_a_bundle_and_a_map_are_those_that_were_given(chain: Path):
    bundle = read_record(chain / "bundle")
    assert bundle.command == ["bandloom", "export", str(chain / "finetune"), "--out", str(chain / "bundle")]
    assert bundle.typed
    scene = str(next((chain / "data" / "scenes").iterdir()))
    made = ["--png", "--confidence", "--out", str(chain / "map.tif")]
    assert read_record(chain / "map.tif").command == ["bandloom", "predict", str(chain / "bundle"), scene, *made]


def test_the_command_of_a_map_is_the_one_that_was_given(tmp_path: Path):
    """Every option that changes what is written, one after the other; the command makes the same map again."""
    from tests.export.stack_file import write_stack
    from tests.export.tiny_model import write_tiny_bundle

    bundle, scene = write_tiny_bundle(tmp_path / "tiny"), write_stack(tmp_path / "a scene.tif", (60, 60))
    names = "B01,B02,B03,B04,B05,B06,B07,B08,B8A,B09,B10,B11,B12"
    for number, words in enumerate(
        (
            (),
            ("--confidence", "--png"),
            ("--probabilities", "--shift-check", "--offset", "-1000"),
            (
                "--band-order",
                names,
                "--sensor",
                "sentinel2-l1c",
                "--batch",
                "3",
                "--threads",
                "1",
                "--precision",
                "fp32",
            ),
            ("--band-order", "l1c"),
        )
    ):
        out = tmp_path / f"v{number}.tif"
        assert run("predict", bundle, scene, *words, "--out", out) == 0
        command = read_record(out).command
        assert command[:4] == ["bandloom", "predict", str(bundle), str(scene)]
        assert sorted(command[4:]) == sorted([*words, "--out", str(out)])
        made = {path.name: path.read_bytes() for path in tmp_path.glob(f"v{number}.*") if path.suffix != ".json"}
        for path in tmp_path.glob(f"v{number}.*"):
            path.unlink()
        assert run(*command[1:]) == 0
        assert {name: (tmp_path / name).read_bytes() for name in made} == made


def test_the_command_of_a_change_names_both_scenes(tmp_path: Path):
    from tests.export.stack_file import write_stack
    from tests.export.tiny_model import write_tiny_bundle

    bundle, out = write_tiny_bundle(tmp_path / "tiny"), tmp_path / "c.tif"
    two = [write_stack(tmp_path / f"{seed}.tif", (60, 60), seed=seed) for seed in (1, 2)]
    assert run("predict", bundle, "--change", *two, "--confidence", "--out", out) == 0
    words = ["--change", *map(str, two), "--confidence", "--out", str(out)]
    assert read_record(out).command == ["bandloom", "predict", str(bundle), *words]


def test_a_map_that_does_not_remember_its_command_is_given_one():
    tags = {"BUNDLE": "tiny", "SCENE": "a", "SCENE_PROVENANCE": '{"source": "s/a.tif"}'}
    assert predict_command(Path("m.tif"), tags) == ["bandloom", "predict", "tiny", "s/a.tif", "--out", "m.tif"]
    for spoilt in ("no list", '{"a": 1}', "[]"):
        assert predict_command(Path("m.tif"), tags | {"COMMAND": spoilt})[2] == "tiny"
