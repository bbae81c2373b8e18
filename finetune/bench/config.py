"""The options of a benchmark, and what every score of it depends on."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from bandloom.command_line.config import Config
from bandloom.command_line.options import Option
from bandloom.finetune.data.splits import TEST, TRAIN, VAL

SCHEMA = 1  # of the rows; another protocol is another number


class BenchConfig(Config):
    """``bandloom bench``."""

    sets: Path = Field(description="folder of prepared label sets: what `bandloom labels prepare` or a build wrote")
    encoders: Annotated[
        list[Path], Option("An encoder's checkpoint, run, or folder of a public one; once for each.", "--encoder")
    ] = Field(default=[])
    out: Path = Field(default=Path("runs/bench"), description="folder of the table; typed again, it goes on")
    only: Annotated[list[str], Option("Score these sets alone; once for each.")] = Field(default=[])
    no_baselines: bool = Field(default=False, description="leave out baselines and random weights of each network")
    fine_tune: bool = Field(default=False, description="also fine-tune every encoder by each set's finetune.yaml")
    seeds: int = Field(default=3, gt=0, description="seeds of random weights, forests and fine-tunings")
    c_values: int = Field(default=40, gt=1, description="values of C from 1e-6 to 1e4 that validation chooses from")
    pixels: int = Field(default=20_000, gt=0, description="training pixels of a map; 2.5 times as many test it")
    bootstrap: int = Field(default=1000, ge=0, description="draws of blocks or samples behind the intervals")

    @property
    def strengths(self) -> tuple[float, ...]:
        """The values of C, rising."""
        return tuple(np.logspace(-6, 4, self.c_values).tolist())

    @property
    def baselines(self) -> bool:
        """Whether baselines stand beside the encoders."""
        return not self.no_baselines

    def protocol(self) -> dict[str, Any]:
        """Return what a score depends on beside its set and its encoder."""
        keys = ("seeds", "c_values", "pixels", "bootstrap")
        return {"schema": SCHEMA, **{key: getattr(self, key) for key in keys}}

    def pixels_by_role(self) -> dict[int, int]:
        """Return how many pixels of a map train, validate and test."""
        return {TRAIN: self.pixels, VAL: self.pixels, TEST: 5 * self.pixels // 2}
