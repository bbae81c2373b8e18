"""Options of ``bandloom zeroshot`` and ``bandloom search``, and which of them go together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from bandloom.command_line.options import Option
from bandloom.errors import ConfigError
from bandloom.finetune.text.search.method import Method


@dataclass(frozen=True)
class ZeroshotOptions:
    """What to do with words: classify chips (``images``), write a classifier (``bake``), or map words (``scene``)."""

    classes: Annotated[str, Option("Words with commas; else the classes it was aligned on.")] = ""
    classes_file: Annotated[str | None, Option("Label set instead, shipped or YAML with synonyms.")] = None
    templates: Annotated[Path | None, Option("File of sentences with {}, one a line.")] = None
    images: Annotated[Path | None, Option("Shards, a scene, or a folder of scenes.")] = None
    out: Annotated[
        Path | None, Option("New CSV of the chips' classes and cosines; zeroshot.csv where none is named.")
    ] = None
    bake: Annotated[Path | None, Option("New run folder with the words as an ordinary classifier.")] = None
    scene: Annotated[Path | None, Option("A scene to map --query in, token by token.", "--map")] = None
    query: Annotated[list[str], Option("Words to map; may be given several times.")] = field(default_factory=list)
    map_out: Annotated[
        Path | None, Option("New GeoTIFF of --map; PNGs go beside it; words.tif where none is named.")
    ] = None

    def check(self) -> None:
        """Check that something is asked for, and nothing that has no effect.

        Raises:
            ConfigError: one of both.
        """
        if self.images is None and self.bake is None and self.scene is None:
            raise ConfigError(
                "say what to do with the words: --images SOURCE to classify, --bake FOLDER to export later,"
                " --map SCENE --query WORDS to map."
            )
        if self.scene is not None and not self.query:
            raise ConfigError("--map maps words, and none are given; add --query WORDS, as often as you like.")
        if self.classes and self.classes_file:
            raise ConfigError("--classes and --classes-file both name classes; keep one of them.")
        _check_partner({"--out": self.out}, "--images", self.images)
        _check_partner({"--query": self.query, "--map-out": self.map_out}, "--map", self.scene)
        _check_partner(
            {"--classes": self.classes, "--classes-file": self.classes_file, "--templates": self.templates},
            "--images or --bake",
            self.images or self.bake,
        )


@dataclass(frozen=True)
class SearchOptions:
    """What to index, and what to look for."""

    index: Annotated[Path, Option("The index; built from --images where it does not exist.")] = Path("index.parquet")
    images: Annotated[Path | None, Option("Shards, a scene, or a folder of scenes to index.")] = None
    query: Annotated[str | None, Option("Words to look for.")] = None
    like: Annotated[str | None, Option("A chip's key, or a scene of one chip, to find the like of.")] = None
    words: Annotated[Path | None, Option("Say the nearest kept sentences of this source's chips.")] = None
    top: Annotated[int, Option("How many, at least 1.")] = 20
    out: Annotated[Path | None, Option("Folder for found.csv and the contact sheet found.png.")] = None
    method: Annotated[Method, Option("How vectors are compared; all are exact.")] = "auto"

    def check(self) -> None:
        """Check that something is asked for, and nothing that has no effect.

        Raises:
            ConfigError: one of both, or fewer than one is asked for.
        """
        if self.images is None and self.query is None and self.like is None and self.words is None:
            raise ConfigError("say what to do: --images SOURCE builds the index, --query WORDS or --like KEY asks it.")
        if self.top < 1:
            raise ConfigError(f"--top {self.top} is refused; give 1 or more.")
        _check_partner({"--out": self.out}, "--query or --like", self.query or self.like)


def _check_partner(given: Mapping[str, object], partner: str, value: object) -> None:
    """Refuse options that say something about another one that is not there."""
    for name, own in given.items():
        if own and not value:
            raise ConfigError(f"{name} goes with {partner}, which is not given; add it, or leave {name} out.")
