"""What a regression predicts: a measured quantity with its unit, and how a network's output becomes a value of it."""

import re
from typing import Any

import numpy as np
from pydantic import Field

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.command_line.config import Config
from bandloom.errors import LabelError

RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")  # viridis, dark is low


class Target(Config):
    """A quantity. A network's output times ``std`` plus ``mean`` is a value in ``unit``."""

    name: str = Field(min_length=1, description="such as canopy height")
    unit: str = Field(default="", description="such as m; empty: it has none")
    mean: float = Field(default=0.0, allow_inf_nan=False, description="of the training labels")
    std: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="likewise")
    low: float = Field(default=0.0, allow_inf_nan=False, description="2 % of the training labels lie below")
    high: float = Field(default=1.0, allow_inf_nan=False, description="2 % of them lie above")

    @property
    def title(self) -> str:
        """The name with its unit, such as ``canopy height [m]``."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @property
    def label_set(self) -> LabelSet:
        """The quantity as the one entry of a label set: what counts labels by class counts its values."""
        return OneValue(self.name, (LabelClass(1, self.name, RAMP[2]),), ())

    def to_values(self, output: Any) -> Any:
        """Return values in the unit, of a network's output."""
        return output * self.std + self.mean

    def to_output(self, values: np.ndarray) -> np.ndarray:
        """Return what a network is taught, float32, of values in the unit."""
        return ((values.astype(np.float64) - self.mean) / self.std).astype(np.float32)


class OneValue(LabelSet):
    """A label set of a single entry, which only a quantity has."""

    def __post_init__(self) -> None:
        """Check nothing: a quantity has no codes that could clash."""


def parse_target(text: str) -> Target:
    """Return the quantity that ``NAME [UNIT]`` or ``NAME`` says.

    Raises:
        LabelError: there is no name.
    """
    match = re.fullmatch(r"\s*([^\[\]]+?)\s*(?:\[([^\[\]]*)\])?\s*", text)
    if match is None:
        raise LabelError(f"the quantity {text!r} is not understood; write its name and unit, as 'canopy height [m]'.")
    return Target(name=match[1], unit=(match[2] or "").strip())
