"""The command in a report makes the folder again."""

from pathlib import Path

from bandloom.view.records import read_record
from bandloom.view.repeat import predict_command
from tests.view.command import run


def test_the_command_of_a_shard_folder_builds_the_same_samples(chain: Path, tmp_path: Path):
    words = read_record(chain / "shards").command
    assert words[:3] == ["bandloom", "shards", "build"]
    named = [str(chain / "data/scenes") if word == "SCENES" else word for word in words[1:-1]]
    assert run(*named, tmp_path / "again") == 0
    assert (tmp_path / "again" / "samples.jsonl").read_bytes() == (chain / "shards" / "samples.jsonl").read_bytes()


def test_the_commands_of_a_bundle_and_a_map_name_what_they_were_made_from(chain: Path):
    assert read_record(chain / "bundle").command == ["bandloom", "export", "finetune", "--out", str(chain / "bundle")]
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
