import json
import subprocess
import sys
from pathlib import Path

import pytest

from bandloom.cli import main
from bandloom.command_line.typed import typed, typed_command


def test_the_words_are_known_while_their_verb_runs_and_not_after():
    assert typed_command() == []
    with typed(["report", "a b"]):
        assert typed_command() == ["bandloom", "report", "a b"]
        with typed(["view"]):
            assert typed_command() == ["bandloom", "view"]
        assert typed_command()[1] == "report"
    assert typed_command() == []


def test_what_opens_an_address_is_not_kept():
    words = ["predict", "s3://name:key@host/a b", "https://host/z.tif?sig=secret&e=1", "hf://a/b@main", "which?.tif"]
    with typed(words):
        assert typed_command()[2:] == ["s3://...@host/a b", "https://host/z.tif?...", "hf://a/b@main", "which?.tif"]


def test_a_verb_that_fails_leaves_no_words_behind(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["report", "nothing-there"])
    assert "does not exist" in capsys.readouterr().err
    assert typed_command() == []


def test_shards_keep_the_command_that_a_process_was_started_with(tmp_path: Path):
    program = [sys.executable, "-m", "bandloom.cli"]
    made = [*program, "shards", "synth", "--out", "data", "--scenes", "1", "--size", "60"]
    built = ["shards", "build", "data/scenes", "--out", "shards", "--side", "60"]
    for words in (made, [*program, *built]):
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    assert json.loads((tmp_path / "shards/manifest.json").read_text())["command"] == ["bandloom", *built]
