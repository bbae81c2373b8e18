"""Every test that the page of cases names exists, in one file, and every case names one."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/decisions/cases.md").read_text()
SHORT = {"polygons": "shards/labels/test_label_polygons.py", "mask": "shards/labels/test_label_mask.py"}
NAMED = sorted(set(re.findall(r"([\w/]+(?:\.py)?)::(test_\w+)", PAGE)))
ROWS = [row.split("|")[1:-1] for row in PAGE.partition("\n## Other members")[0].splitlines() if row.startswith("| ")]


def files_of(name: str) -> list[Path]:
    name = SHORT.get(name, name)
    return [path for path in TESTS.rglob("*.py") if f"/{path.relative_to(TESTS)}".endswith(f"/{name}")]


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_named_test_exists(file: str, test: str):
    holding = [path for path in files_of(file) if f"\ndef {test}(" in path.read_text()]
    assert len(holding) == 1, f"{file}::{test} is in {len(holding)} files; correct docs/decisions/cases.md"


def test_every_case_has_what_comes_out_and_a_test():
    cases = [row for row in ROWS if row[0].strip() != "case"]
    assert len(cases) == 62
    for case, _, now, test in cases:
        assert re.match(r" (right|sentence|not written)", now), case
        assert "::test_" in test, case


def test_files_that_kinds_name_exist():
    for name in re.findall(r"`((?:[\w/]+/)?[\w]+\.py)`", PAGE):
        name = name.removeprefix("tests/")
        assert name == "test_x.py" or len(files_of(name)) >= 1, name
