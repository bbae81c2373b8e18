"""The commands of docs/view.md, run as they stand in a folder like the reader's."""

import shlex
from pathlib import Path

import pytest

from tests.test_docs_commands import blocks_of
from tests.view.command import run

PAGE = Path(__file__).parents[2] / "docs" / "view.md"


def test_the_commands_of_the_page_run(chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for own, made in (("run", "finetune"), ("shards", "shards"), ("scene", next((chain / "data/scenes").iterdir()))):
        (tmp_path / own).symlink_to(chain / made)
    for made in chain.glob("map*"):
        (tmp_path / made.name).write_bytes(made.read_bytes())
    lines = [line for block in blocks_of(PAGE) if block.run_by for line in block.commands]
    assert len(lines) == 5
    for line in lines:
        assert run(*shlex.split(line)[1:]) == 0, line
    assert {"page.html", "report.html", "ab.html", "shards.html"} <= {path.name for path in tmp_path.iterdir()}
