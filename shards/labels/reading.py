"""Reading options of label files, shared by ``labels check``, ``labels prepare`` and ``shards build``."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, get_args

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from bandloom.classes.class_words import whole_number
from bandloom.command_line.options import Option
from bandloom.errors import LabelError, nearest
from bandloom.shards.scenes import Scene, WindowM

LABEL_GSD_M = 10
Overlap = Literal["last", "first", "error"]


@dataclass(frozen=True)
class LabelReading:
    """How to read a file of labels.

    Args:
        field: the attribute or column that holds the class.
        layer: the layer of a GeoPackage; None where it has one.
        encoding: the text's encoding; None: what the file itself says, else UTF-8.
        nodata: the value of a raster that means "no label", ``none`` to take every value for a code; None: what the
            file declares.
        overlap: which of two geometries of different classes wins where both lie, or that it is an error.
        all_touched: polygons label every pixel they touch, not those whose centre lies inside.
    """

    field: Annotated[
        str, Option("Attribute or column of labels that holds the class.", "--attribute", "--label-field")
    ] = "class"
    layer: Annotated[str | None, Option("Layer of a GeoPackage of labels.", "--layer", "--label-layer")] = None
    encoding: Annotated[
        str | None, Option("Encoding of the labels' text, such as gbk.", "--encoding", "--label-encoding")
    ] = None
    nodata: Annotated[
        str | None, Option("Value of label rasters without a label; or none.", "--nodata", "--label-nodata")
    ] = None
    overlap: Annotated[Overlap, Option("Which of two label geometries counts where both lie.")] = "last"
    all_touched: Annotated[bool, Option("Label every pixel that a polygon touches.")] = False

    def check(self) -> None:
        """Check what has a fixed set of values.

        Raises:
            LabelError: an option that cannot be used.
        """
        if self.overlap not in get_args(Overlap):
            known = get_args(Overlap)
            raise LabelError(
                f"--overlap {self.overlap!r} is not known; use one of {', '.join(known)}.{nearest(self.overlap, known)}"
            )
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError as cause:
                raise LabelError(
                    f"--label-encoding {self.encoding!r} is not known; use one such as utf-8, latin-1, cp1252 or gbk."
                ) from cause
        _ = self.nodata_value(None)

    def nodata_value(self, declared: float | None) -> float | None:
        """Return the value that means "no label" in a raster that declares ``declared``.

        Raises:
            LabelError: ``nodata`` is neither a number nor ``nan`` nor ``none``.
        """
        if self.nodata is None:
            return declared
        text = self.nodata.strip().lower()
        if text == "none":
            return None
        try:
            return number if (number := whole_number(text)) is not None else float(text)
        except ValueError as cause:
            raise LabelError(
                f"--label-nodata {self.nodata!r} is not understood; give a number, nan, or none."
            ) from cause


@dataclass(frozen=True)
class Ground:
    """The 10 m grid of a scene."""

    crs: CRS
    x_m: float
    y_m: float
    width: int
    height: int
    name: str = ""

    @classmethod
    def of(cls, scene: Scene) -> "Ground":
        """Return the grid of an open scene."""
        width, height = (round(side_m / LABEL_GSD_M) for side_m in (scene.width_m, scene.height_m))
        return cls(scene.crs, scene.transform.c, scene.transform.f, width, height, scene.name)

    @property
    def transform(self) -> Affine:
        """From pixels to coordinates."""
        return Affine(LABEL_GSD_M, 0, self.x_m, 0, -LABEL_GSD_M, self.y_m)

    @property
    def whole_m(self) -> WindowM:
        """The window that holds all of it."""
        return 0, 0, self.width * LABEL_GSD_M, self.height * LABEL_GSD_M

    def clip(self, window_m: WindowM) -> tuple[tuple[int, int, int, int], tuple[int, int], tuple[int, int]]:
        """Return the part of a window on the scene as (left, top, right, bottom) pixels, its place in the window
        as (row, column), and the window's (height, width)."""
        x, y, width, height = (round(edge / LABEL_GSD_M) for edge in window_m)
        left, top = max(0, x), max(0, y)
        right, bottom = max(left, min(self.width, x + width)), max(top, min(self.height, y + height))
        return (left, top, right, bottom), (top - y, left - x), (height, width)

    def probes(self, left: float, top: float, right: float, bottom: float) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates of 9 x 9 places spread over a box of pixels, its edges among them."""
        columns, rows = np.meshgrid(np.linspace(left, right, 9), np.linspace(top, bottom, 9))
        return self.x_m + columns.ravel() * LABEL_GSD_M, self.y_m - rows.ravel() * LABEL_GSD_M


class Labels(Protocol):
    """Labels of one scene, read by windows."""

    @property
    def unlabelled(self) -> Counter[str]:
        """Pixels read so far without a label, by the reason."""
        ...

    @property
    def meets_scene(self) -> bool:
        """Whether any of them can lie on the scene."""
        ...

    def read(self, window_m: WindowM) -> np.ndarray:
        """Return ``(H10, W10)`` uint8 class indices of a window, 255 where there is no label."""
        ...

    def warnings(self) -> list[str]:
        """Return what a person should know of the windows read so far."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


def is_nan(value: float | None) -> bool:
    """Tell whether a declared nodata is not a number."""
    return isinstance(value, float) and math.isnan(value)
