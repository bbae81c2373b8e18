"""The pages on public label sets say what their records say."""

from pathlib import Path

import pytest

from bandloom.finetune.public_sets.registry import SETS

PAGES = {path.name: path.read_text() for path in (Path(__file__).parents[3] / "docs" / "public-sets").glob("*.md")}


@pytest.mark.parametrize("form", SETS)
def test_every_set_has_one_section_with_the_facts_of_its_record(form):
    facts = SETS[form].facts
    (page,) = [text for text in PAGES.values() if f"--form {form} --out set" in text]
    section = next(part for part in page.split("\n## ") if f"--form {form} --out set" in part)
    assert section.startswith(facts.title)
    for said in (facts.layout, facts.size, facts.licence, facts.source, facts.units, facts.pixels, *facts.unsettled):
        assert said in section
    assert all(f"`{split}`" in section for split in facts.splits)
