"""Every command block of README and docs is run by a test, or says why not; and what it types exists."""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from bandloom.cli import bandloom, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARKER = re.compile(r"<!-- commands: (?:run by (?P<test>\S+)|not run: (?P<reason>[^>]{10,})) -->")
BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of commands, and the marker above it, which holds until the next."""

    text: str
    marked: bool
    run_by: str | None

    @property
    def commands(self) -> list[str]:
        """The lines that type bandloom, without their comments."""
        joined = self.text.replace("\\\n", " ")
        lines = [re.sub(r"\s+#.*$", "", line) for line in joined.splitlines()]
        return [line for line in lines if line.startswith("bandloom ")]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    markers = list(MARKER.finditer(text))
    found = []
    for block in BLOCK.finditer(text):
        above = [marker for marker in markers if marker.end() <= block.start()]
        found.append(Block(block[1], bool(above), above[-1]["test"] if above else None))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_by_a_test_or_says_why_not(page: Path):
    for block in blocks_of(page):
        assert block.marked, (
            f"put <!-- commands: run by TEST --> or <!-- commands: not run: WHY --> above\n{block.text}"
        )
        if block.run_by:
            test = ROOT / block.run_by
            assert test.is_file()
            assert page.name in test.read_text(), f"{block.run_by} does not run {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_typed_exists(page: Path):
    for block in blocks_of(page):
        for line in block.commands:
            command, rest = find(shlex.split(line)[1:])
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            typed = {word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)}
            assert typed <= known | {"--help"}, line


def find(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that the words lead to, and the words after its name."""
    command: Any = typer.main.get_command(bandloom)
    while hasattr(command, "get_command") and words:
        found = command.get_command(None, words[0])
        if found is None:
            assert words[0].startswith("-"), words
            return command, words
        command, words = found, words[1:]
    return command, words


def test_the_tutorial_of_a_new_sensor_runs(tmp_path: Path):
    page = ROOT / "docs" / "tutorial-sensor.md"
    sensor, segment = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "cubesat.yaml").write_text(sensor)
    (tmp_path / "segment.yaml").write_text(segment)
    was = Path.cwd()
    os.chdir(tmp_path)
    try:
        for line in [line for block in blocks_of(page) for line in block.commands]:
            with pytest.raises(SystemExit) as ended:
                main(shlex.split(line)[1:])
            assert not ended.value.code, line
    finally:
        os.chdir(was)
    assert (tmp_path / "map.tif").is_file()


@pytest.mark.slow
def test_the_commands_of_readme_run_from_scenes_to_a_report(tmp_path: Path):
    """README.md's own lines, with fewer steps; the map page itself, which serves until Ctrl-C, is written to a file."""
    fewer = {"pretrain": ["size=demo", "crop_px=60", "trainer.steps=4", "trainer.batch_size=4", "pictures_every=4"],
             "finetune": ["trainer.steps=4", "baselines=[majority]"], "view": ["--export", "page.html"]}  # fmt: skip
    recipe = "pretrain/recipes/laptop.yaml"
    made = {"SCENES...": "data/scenes", "MASKS": "data/labels", "classes.yaml": "data/label_set.yaml",
            "SCENE": "data/scenes/scene_00000", recipe: str(ROOT / recipe)}  # fmt: skip
    (tmp_path / "my.yaml").write_text("size: demo\nchip_px: 60\nwarm_steps: 10\ntrainer: {batch_size: 4}\n")
    own = next(block for block in blocks_of(ROOT / "README.md") if "shards build" in block.text)
    typed = ["bandloom shards synth --out data --scenes 3 --size 120", *own.commands]
    was = Path.cwd()
    os.chdir(tmp_path)
    try:
        for line in typed:
            words = [made.get(word, word) for word in shlex.split(line)[1:]]
            with pytest.raises(SystemExit) as ended:
                main([*words, *fewer.get(words[0], [])])
            assert not ended.value.code, line
    finally:
        os.chdir(was)
    assert (tmp_path / "report.html").is_file()
