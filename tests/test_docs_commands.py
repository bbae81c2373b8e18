"""Every command block of README and docs is run by a test, or says why not; and what it types exists."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.cli import VERBS, bandloom, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARKER = re.compile(r"<!-- commands: (?:run by (?P<test>\S+)|not run: (?P<reason>[^>]{10,})) -->")
BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^ {4,}\S.*\n)+", re.MULTILINE)  # a list's code


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
        lines = [re.sub(r"\s+#.*$", "", line.strip()) for line in joined.splitlines()]
        return [line for line in lines if line.startswith("bandloom ")]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    markers = list(MARKER.finditer(text))
    indented = [block for block in INDENTED.finditer(text) if "    bandloom " in block[0]]
    found = []
    for block in [*BLOCK.finditer(text), *indented]:
        above = [marker for marker in markers if marker.end() <= block.start()]
        found.append(Block(block[block.re.groups], bool(above), above[-1]["test"] if above else None))
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
            inner = next((rest[at:] for at, word in enumerate(rest) if word in VERBS), [])  # of `slurm array`
            known = {
                option
                for each in (command, find(inner)[0] if inner else command)
                for parameter in each.params
                for option in (*parameter.opts, *parameter.secondary_opts)
            }
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


@pytest.mark.slow
def test_the_tutorial_of_a_new_sensor_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = ROOT / "docs" / "tutorial-sensor.md"
    sensor, segment = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "cubesat.yaml").write_text(sensor)
    (tmp_path / "segment.yaml").write_text(segment)
    monkeypatch.chdir(tmp_path)
    for line in [line for block in blocks_of(page) for line in block.commands]:
        run(*shlex.split(line)[1:])
    assert (tmp_path / "map.tif").is_file()


@pytest.mark.slow
def test_the_commands_of_readme_run_in_a_folder_of_a_newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """README.md's own lines and files, with fewer steps; the map page, which serves until Ctrl-C, goes to a file."""
    page = ROOT / "README.md"
    classes, config = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "classes.yaml").write_text(classes)
    assert get_taxonomy(str(tmp_path / "classes.yaml")).label_set.names == ("water", "wheat", "forest")
    (tmp_path / "my.yaml").write_text(config)
    monkeypatch.chdir(tmp_path)
    run("labels", "examples", "--out", "data")
    blocks = {block.commands[0].split()[1]: block.commands for block in blocks_of(page) if block.run_by}
    assert list(blocks) == ["view", "predict", "labels", "shards"]
    type_lines(blocks["labels"])
    (tmp_path / "demo/unseen/scenes").mkdir(parents=True)
    (tmp_path / "demo/unseen/scenes/scene_05000").symlink_to(tmp_path / SCENE)
    for made, shown in (
        ("landcover.tif", "map.tif"),
        ("landcover.bundle", "segment.bundle"),
        ("runs/landcover", "segment"),
    ):
        (tmp_path / "demo" / shown).symlink_to(tmp_path / made)
    for name in ("view", "predict", "shards"):
        type_lines(blocks[name])
    for made in ("report.html", "landcover.html", "shards.html", "map.png", "runs/better/metrics.json"):
        assert (tmp_path / made).is_file(), made


SCENE = "data/scenes/scene_00005"
RECIPE = "pretrain/recipes/laptop.yaml"
STANDS_FOR = {
    "SCENE": SCENE,
    "SCENES...": "data/scenes",
    "classes.yaml": "data/label_set.yaml",
    "polygons.geojson": "data/polygons.geojson",
    RECIPE: str(ROOT / RECIPE),
}
FEWER = {
    "pretrain": ["size=demo", "crop_px=60", "trainer.steps=4", "trainer.batch_size=4", "pictures_every=4"],
    "finetune": [
        "chip_px=24",
        "warm_steps=10",
        "trainer.steps=2",
        "trainer.batch_size=4",
        "trainer.engine.warmup_steps=1",
        "baselines=[majority]",
    ],
}


def type_lines(lines: list[str]) -> None:
    for line in lines:
        words = [STANDS_FOR.get(word, word) for word in shlex.split(line)[1:]]
        shown = ["--export", f"{Path(words[1]).stem}-{len(words)}-{hash(line)}.html"] if words[0] == "view" else []
        run(*words, *FEWER.get(words[0], []), *shown)


def run(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert not ended.value.code, words
