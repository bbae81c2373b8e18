"""A figure that misses its goal says what was tried."""

import json

import pytest

from benchmarks import harness
from benchmarks.harness import RESULTS, misses
from benchmarks.misses import TRIED


def missed() -> list[str]:
    """Return the benchmarks of which a figure misses its goal."""
    records = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    return [name for name, record in records.items() if any(f["met"] is False for f in record.get("figures", []))]


@pytest.mark.parametrize("name", missed())
def test_a_benchmark_that_misses_its_goal_says_what_was_tried(name: str):
    assert len(TRIED[name]) > 60


def test_a_miss_of_which_nothing_is_written_down_is_told_so():
    assert any(
        "**new**, new 0.5 (>= 1): nothing is written down yet." in line for line in misses({"new": ["new 0.5 (>= 1)"]})
    )


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["build", "nothing"], 2), (["--tabel"], 2)])
def test_no_benchmark_runs_for_a_word_that_names_none(words, code, monkeypatch, capsys):
    monkeypatch.setattr(harness, "write", lambda *_: pytest.fail("a benchmark ran"))
    with pytest.raises(SystemExit) as stopped:
        harness.main(words)
    assert stopped.value.code == code
    said = capsys.readouterr()
    assert "loader_raw" in said.out if not code else "error:" in said.err
