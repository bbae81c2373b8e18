"""The README says what is there: its file tree, its commands, its links."""

import re

import pytest
import yaml

from bandloom.cli import VERBS
from tests.readme_tree import ROOT, with_tree

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_file_tree_is_that_of_the_files() -> None:
    assert with_tree(README) == README, "run: python tests/readme_tree.py"


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verb_named_exists(page) -> None:
    named = {word for block in re.findall(r"```(?:sh|bash)?\n(.*?)```", page.read_text(), re.S)
             for word in re.findall(r"^\$? ?bandloom ([a-z]+)", block, re.M)}  # fmt: skip
    assert named <= set(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), target


def test_yaml_blocks_are_yaml() -> None:
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S):
            assert yaml.safe_load(block) is not None
