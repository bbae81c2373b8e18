"""The command in a report makes the folder again."""

from pathlib import Path

from bandloom.view.records import read_record
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
    assert read_record(chain / "map.tif").command == [
        "bandloom",
        "predict",
        "bundle",
        scene,
        "--out",
        str(chain / "map.tif"),
    ]
