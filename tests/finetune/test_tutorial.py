"""The commands of the documentation, run as they stand."""

import json
import re
import shlex
from pathlib import Path

import pytest

from bandloom.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "tutorial-labels.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_tutorial_runs_from_files_to_a_scored_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "segment.yaml").write_text(blocks("yaml")[0])
    for line in "".join(blocks("bash")).splitlines():
        with pytest.raises(SystemExit) as end:
            main(shlex.split(line)[1:])
        assert not end.value.code, line
    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["fine-tuned", "majority", "pixel_logistic"]
