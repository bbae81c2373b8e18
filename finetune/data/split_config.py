"""The config of a split: which ground trains, validates and tests."""

from typing import Annotated

from pydantic import Field

from bandloom.command_line.config import Config, ReadWhen
from bandloom.finetune.data.splits import SplitKind

DEALT = ("block", "scene", "time", "longitude", "random")  # kinds that deal the ground to roles by shares


class SplitConfig(Config):
    """Which ground trains, validates and tests."""

    kind: SplitKind = Field(default="block", description="block by default; random leaks and is warned of")
    published: Annotated[str | None, ReadWhen("kind", ("published",))] = Field(
        default=None,
        description="kind published: which of the set's own splits; null: the one its shards were built by",
    )
    block_m: Annotated[int | None, ReadWhen("kind", ("block",))] = Field(
        default=None, gt=0, description="side of a block; null: the largest that serves"
    )
    buffer_m: Annotated[int, ReadWhen("kind", ("block",))] = Field(
        default=60, ge=0, description="ground dropped between blocks of different roles"
    )
    val: Annotated[float, ReadWhen("kind", DEALT)] = Field(default=0.15, gt=0, lt=1, description="share for validation")
    test: Annotated[float, ReadWhen("kind", DEALT)] = Field(
        default=0.25, gt=0, lt=1, description="share for the test, which is scored once, at the end"
    )
    seed: Annotated[int, ReadWhen("kind", ("block", "scene", "random"))] = Field(
        default=0, ge=0, description="another seed deals the blocks anew"
    )
