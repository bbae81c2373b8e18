"""Options made from records: a field is an option, its default, its help and its limits."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from bandloom.command_line.config import Config
from bandloom.command_line.options import Only, Option, Renamed, fills
from bandloom.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    layer: Annotated[str | None, Option("Layer to read.", "--label-layer")] = None
    ratio: Annotated[float, Option("A share.")] = 0.5


@dataclass(frozen=True)
class Outer:
    side_px: Annotated[int, Option("Side in pixels.", "--side")] = 240
    codec: Annotated[Literal["speed", "small"], Option("Codec.")] = "speed"
    deep: Annotated[bool, Option("Look deep.")] = False
    place: Annotated[Path | None, Option("Where.")] = None
    names: Annotated[tuple[str, ...], Option("Names with commas.", parse=lambda text: tuple(text.split(",")))] = ()
    inner: Inner = field(default_factory=Inner)
    untold: int = 7


class Checked(Config):
    batch: int = Field(default=8, gt=0, description="tiles an engine call")
    kind: str | None = Field(default=None, description="what it is")
    silent: int = 3


def run(kind: object, *words: str) -> tuple[object, str]:
    """Return the record that a command was called with, and what it printed."""
    app, seen = typer.Typer(), []

    @app.command()
    @fills
    def command(source: str, record: kind, last: int = 1) -> None:  # type: ignore[valid-type]
        """Do it."""
        seen.append((source, record, last))

    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "150"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return (seen[0] if seen else None), done.output


def test_nothing_typed_is_the_record_s_own_defaults():
    assert run(Outer, "here") == (("here", Outer(), 1), "")
    assert run(Checked, "here")[0] == ("here", Checked(), 1)


def test_every_field_is_filled_from_its_option_those_of_an_inner_record_too():
    words = "here --side 12 --codec small --deep --place x/y --names a,b --label-layer roads --ratio 0.25 --last 4"
    wanted = Outer(12, "small", True, Path("x/y"), ("a", "b"), Inner("roads", 0.25))
    assert run(Outer, *words.split())[0] == ("here", wanted, 4)


def test_help_says_names_defaults_choices_and_words_and_nothing_of_a_field_that_is_no_option():
    said = run(Outer, "--help")[1]
    for part in ("--side", "Side in pixels.", "[default: 240]", "speed|small", "--label-layer", "Layer to read."):
        assert part in said
    assert "untold" not in said
    assert "--no-deep" not in said
    told = run(Checked, "--help")[1]
    assert "Tiles an engine call." in told
    assert "silent" not in told


def test_a_command_may_offer_some_of_the_fields():
    some = Annotated[Outer, Only("side_px", "ratio")]
    assert run(some, "here", "--side", "6", "--ratio", "1")[0] == ("here", Outer(side_px=6, inner=Inner(ratio=1.0)), 1)
    assert "No such option" in run(some, "here", "--deep")[1]


def test_a_value_that_the_record_refuses_is_one_sentence_with_the_option():
    with pytest.raises(ConfigError, match=r"^--batch 0 is refused: input should be greater than 0; give it another"):
        run(Checked, "here", "--batch", "0")


def test_a_value_of_another_type_is_refused_before():
    assert "Invalid value for '--side'" in run(Outer, "here", "--side", "x")[1]


def test_a_field_without_a_default_must_be_given():
    @dataclass(frozen=True)
    class Needed:
        out: Annotated[Path, Option("Where to.")]

    assert "Missing option '--out'" in run(Needed, "here")[1]
    assert run(Needed, "here", "--out", "x")[0] == ("here", Needed(Path("x")), 1)


def test_a_new_field_is_a_new_option():
    @dataclass(frozen=True)
    class More(Outer):
        nodata: Annotated[float | None, Option("Value without data.")] = None

    assert run(More, "here", "--nodata", "-9999")[0] == ("here", More(nodata=-9999.0), 1)


def test_two_records_with_a_field_of_one_name_share_a_command_under_two_options():
    app, seen = typer.Typer(), []

    @app.command()
    @fills
    def command(one: Inner, two: Annotated[Inner, Renamed(layer="--other-layer", ratio="--other-ratio")]) -> None:
        seen.append((one, two))

    done = CliRunner().invoke(app, ["--label-layer", "a", "--other-layer", "b", "--other-ratio", "0.1"])
    assert done.exit_code == 0, done.output
    assert seen == [(Inner("a"), Inner("b", 0.1))]
