"""What ``--dry-run`` says, and that it trains nothing."""

from pathlib import Path

import pytest

from bandloom.command_line.console import console
from bandloom.pretrain.cli import pretrain


def dry_run_of(tmp_path: Path, text: str) -> str:
    (tmp_path / "config.yaml").write_text(text)
    with console.capture() as said:
        pretrain(tmp_path / "config.yaml", [], tmp_path / "run", dry_run=True)
    assert not (tmp_path / "run").exists()
    return said.get()


def test_it_prints_the_config_and_the_arithmetic(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console, "width", 160)
    said = dry_run_of(tmp_path, f"shards: {shards}\nsize: tiny\n")
    for part in (
        "warmup_steps: 100",
        "400, 100",
        "2,710,656",
        "memory a GPU, together",
        "FLOPs of a step",
        "tokens a second",
        "of sentinel2-l1c, seen",
    ):
        assert part in said


def test_it_needs_no_shards_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console, "width", 160)
    assert "is not there yet" in dry_run_of(tmp_path, f"shards: {tmp_path / 'none'}\nsize: g\n")
