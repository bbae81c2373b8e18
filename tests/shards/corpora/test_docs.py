"""The pages on public corpora say what their records say."""

from pathlib import Path

import pytest

from bandloom.shards.corpora.known import CORPORA

PAGES = {path.name: path.read_text() for path in (Path(__file__).parents[3] / "docs" / "corpora").glob("*.md")}
ROWS = ("recognised by", "size", "licence", "source", "time", "samples", "offset", "20 and 60 m", "absent", "split")


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_has_one_section_with_its_facts_and_its_command(name):
    corpus = CORPORA[name]
    (section,) = [
        part for page in PAGES.values() for part in page.split("\n## ")[1:] if f"--corpus {name} --out" in part
    ]
    assert section.startswith(f"{corpus.title}\n")
    lines = [line.strip("| ") for line in section.splitlines() if line.startswith("| ") and line.strip("| ")]
    rows = dict(line.split(" | ", 1) for line in lines)
    assert tuple(rows) == ROWS
    assert rows["recognised by"] == corpus.looks_like
    assert rows["licence"] == corpus.licence
    assert f"{corpus.side_px} px" in rows["samples"]
    assert (f"`{corpus.repository}`" in rows["source"]) == (corpus.repository is not None)
    assert ("shards fetch" in section) == (corpus.repository is not None)
