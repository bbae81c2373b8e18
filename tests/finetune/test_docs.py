"""The commands of the documentation, run as they stand."""

import os
import re
import shlex
from pathlib import Path

import pytest

from bandloom.cli import main
from bandloom.scores import read_scores

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial-labels.md").read_text()
BEFORE, FORMS = PAGE.split("## The other forms")
FORM = re.compile(r"^### ([^\n]+)\n(?:(?!^###).)*?```bash\n(.*?)```", re.DOTALL | re.MULTILINE)


def blocks(kind: str, text: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(name="page", scope="module")
def the_readers_folder(tmp_path_factory):
    """The folder of somebody who typed the page's first command, and copied its configs."""
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "segment.yaml").write_text(blocks("yaml", BEFORE)[0])
    (folder / "classify.yaml").write_text(blocks("yaml", FORMS)[0])
    run(folder, blocks("bash", BEFORE)[0])
    return folder


def run(folder: Path, lines: str) -> None:
    was = Path.cwd()
    os.chdir(folder)
    try:
        for line in lines.splitlines():
            with pytest.raises(SystemExit) as end:
                main(shlex.split(line)[1:])
            assert not end.value.code, line
    finally:
        os.chdir(was)


def names(folder: Path) -> list[str]:
    return [row.name for row in read_scores(folder / "metrics.json").rows]


def test_the_tutorial_runs_from_files_to_a_scored_report(page):
    run(page, "".join(blocks("bash", BEFORE)[1:]))
    assert names(page / "run") == ["fine-tuned", "majority"]
    assert names(page / "again") == ["fine-tuned"]
    assert names(page / "floors") == ["majority", "pixel_linear_svm"]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "lines"), [pytest.param(*form, id=form[0]) for form in FORM.findall(FORMS)])
def test_every_other_form_goes_to_a_scored_report_with_three_commands(page, form, lines):
    commands = lines.splitlines()
    assert len(commands) <= 3, form
    run(page, lines)
    assert names(page / shlex.split(commands[-1])[-1]) == ["fine-tuned", "majority"]


def test_the_page_shows_all_seven_forms():
    assert len(FORM.findall(FORMS)) == 6  # and a scene with a mask, before them
