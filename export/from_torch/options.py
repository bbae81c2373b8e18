"""Options of an export, and the command line that gives them."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bandloom.command_line.config import Config
from bandloom.command_line.options import Option


class ExportOptions(Config):
    """What an export writes beside the fp32 model, and how the bundle's tiles are cut."""

    shards: Path | None = Field(
        default=None,
        description="shards to take the golden chips from; the run's by default, or chips drawn from its statistics",
    )
    tile_px: Annotated[
        int | None, Option("Side of a tile in pixels of 10 m, a multiple of the training chip.", "--tile")
    ] = None
    margin_px: Annotated[int | None, Option("Pixels thrown away on each side of a tile.", "--margin")] = None
    taper_px: Annotated[int | None, Option("Pixels over which neighbouring tiles are blended.", "--taper")] = None
    precisions: Annotated[
        tuple[str, ...],
        Option(
            "fp32, which is always written, and any of fp16, bf16, int8, comma-separated.",
            "--precision",
            parse=lambda text: tuple(text.split(",")),
        ),
    ] = ("fp32",)
    embeddings: bool = Field(default=False, description="also write the encoder, for embeddings of scenes")
    ensemble: bool = Field(
        default=False, description="average the models of all runs named, or of all seeds of one run, in one bundle"
    )
    ood: bool = Field(
        default=False,
        description="also learn the training ground, so that predict --ood tells how unlike it a scene is",
    )
