"""What the decisions say of the code is there: the tests that they name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PAGES = sorted((ROOT / "docs" / "decisions").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_a_decision_names_are_there(page: Path):
    for file, test in NAMED.findall(page.read_text()):
        assert (ROOT / file).exists(), f"{page.name} names {file}, which is not there"
        assert f"def {test}(" in (ROOT / file).read_text(), f"{page.name} names {test}, which {file} does not hold"


def test_every_fault_that_a_gpu_would_have_shown_has_its_test():
    text = (ROOT / "docs" / "decisions" / "card.md").read_text()
    table = text.partition("| fault | now | test |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) >= 20
    assert all(NAMED.search(row) for row in rows)
