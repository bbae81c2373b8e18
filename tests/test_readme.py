"""README and docs say what is there: the files, the commands, the links."""

import re

import pytest
import yaml

from bandloom.cli import VERBS
from tests import readme_tree
from tests.readme_tree import ROOT

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", readme_tree.PAGES)
def test_the_tree_is_that_of_the_files(name: str) -> None:
    page = (ROOT / name).read_text()
    assert readme_tree.with_tree(page, readme_tree.PAGES[name]()) == page, "run: python tests/readme_tree.py"


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verb_named_exists(page) -> None:
    named = {
        word
        for block in re.findall(r"```(?:sh|bash)?\n(.*?)```", page.read_text(), re.S)
        for word in re.findall(r"^\$? ?bandloom ([a-z]+)", block, re.M)
    }
    assert named <= set(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_finds_it(page) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]*)\)", page.read_text()):
        headings = re.findall(r"^#+ (.*)$", (page.parent / target if target else page).read_text(), re.M)
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_the_project_named_exists(page) -> None:
    named = re.findall(rf"`((?:{'|'.join((*readme_tree.ROOMS, *readme_tree.BESIDE))})/[\w./-]+)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_yaml_blocks_are_yaml() -> None:
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S):
            assert yaml.safe_load(block) is not None
