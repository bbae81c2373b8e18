"""The two examples at the end of every verb's help: each is parsed as typed, and what is cheap runs."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import typer.main

from bandloom.cli import VERBS, bandloom, main
from bandloom.command_line.examples import EXAMPLES
from bandloom.model.checkpoint import save_encoder
from bandloom.model.encoder import Encoder, EncoderConfig
from bandloom.model.statistics import Statistics
from bandloom.sensors import SENSORS, SLOTS
from tests.export.from_torch.test_export_run import exported_once

ROOT = Path(__file__).parents[3]
RUN = [  # in this order, in one folder
    *EXAMPLES["shards synth"],
    *EXAMPLES["shards build"],
    *EXAMPLES["shards plan"],
    *EXAMPLES["shards verify"],
    EXAMPLES["shards stats"][0],
    EXAMPLES["shards info"][0],
    *EXAMPLES["shards show"],
    EXAMPLES["shards repack"][1],
    EXAMPLES["pretrain"][0],
    EXAMPLES["embed"][0],
    EXAMPLES["labels list"][0],
    EXAMPLES["labels examples"][0],
    *EXAMPLES["labels check"],
    *EXAMPLES["labels prepare"],
    EXAMPLES["labels map"][0],
    *EXAMPLES["bundle verify"][:1],
    *EXAMPLES["bundle inspect"][:1],
    *EXAMPLES["bundle triton"],
    EXAMPLES["bundle prune"][0],
    *EXAMPLES["predict"],
    EXAMPLES["polygons"][1],
    EXAMPLES["encoder list"][0],
    EXAMPLES["encoder show"][0],
    EXAMPLES["checkpoint push"][0],
    EXAMPLES["report"][0],
    EXAMPLES["doctor"][0],
]


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from commands(inner, f"{path} {name}")


def every_verb() -> list[tuple[str, Any]]:
    group: Any = typer.main.get_command(bandloom)
    return [command for verb in VERBS for command in commands(group.get_command(None, verb), verb)]


def test_every_verb_has_two_examples_of_itself_and_there_are_no_others():
    assert {path for path, _ in every_verb()} == set(EXAMPLES)
    for path, examples in EXAMPLES.items():
        assert len(set(examples)) == 2, path
        assert all(example.startswith(f"bandloom {path}") for example in examples), path


@pytest.mark.parametrize("path", ["predict", "shards", "shards build", "slurm array", "labels check"])
def test_the_help_ends_with_them(path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main([*path.split(), "--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[-3:] == ["Examples:", *EXAMPLES[path]]


@pytest.mark.parametrize("path", EXAMPLES)
def test_every_example_is_parsed_with_all_its_options(path: str):
    for example in EXAMPLES[path]:
        command: Any = typer.main.get_command(bandloom)
        words = shlex.split(example)[1:]
        while hasattr(command, "get_command") and not words[0].startswith("-"):
            command, words = command.get_command(None, words[0]), words[1:]
        if "--help" not in words:
            command.make_context("bandloom", words)  # a click.UsageError where an option or argument does not fit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples name: a fine-tuned run with its bundle, an encoder's run, a config, rasters of labels."""
    made = tmp_path_factory.mktemp("examples")
    torch.manual_seed(0)
    statistics = Statistics(mean=dict.fromkeys(SLOTS, 0.1), std=dict.fromkeys(SLOTS, 0.1))
    encoder = Encoder(EncoderConfig(embed_dim=16, depth=1, num_heads=1), statistics).eval()
    save_encoder(made / "runs/encoder/checkpoint", encoder, [SENSORS["sentinel2-l1c"]], {})
    for name in ("runs/landcover", "landcover.bundle"):
        shutil.copytree(exported_once(tmp_path_factory) / name, made / name)
    (made / "laptop.yaml").write_text((ROOT / "pretrain/recipes/laptop.yaml").read_text())
    profile = {"driver": "GTiff", "width": 60, "height": 60, "count": 1, "dtype": "uint8", "crs": "EPSG:32601"}
    place = rasterio.transform.from_origin(500000, 1000000, 10, 10)
    with rasterio.open(made / "worldcover.tif", "w", **profile, transform=place) as raster:
        raster.write(np.full((60, 60), 10, np.uint8), 1)
    return made


def test_the_cheap_ones_run_one_after_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    for line in RUN:
        if line == EXAMPLES["labels check"][0]:
            (folder / "mask.tif").symlink_to(sorted((folder / "data/labels").iterdir())[0])
        if not (folder / "scene").exists() and (folder / "data/scenes").is_dir():
            (folder / "scene").symlink_to(sorted((folder / "data/scenes").iterdir())[0])
        with pytest.raises(SystemExit) as stopped:
            main(shlex.split(line)[1:])
        assert stopped.value.code in (0, None), line
    assert (folder / "map.png").is_file()
    assert len(list((folder / "maps").glob("*.tif"))) == 4  # two maps, two of confidence
    assert (folder / "embeddings.tif").is_file()
    assert re.search(r"\.tar$", "\n".join(path.name for path in (folder / "fast").iterdir()), re.MULTILINE)
