"""An array with its place on the ground: what Python callers get back in the place of a file."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rasterio.crs import CRS
    from rasterio.transform import Affine


@dataclass(frozen=True)
class GeoArray:
    """Values with a coordinate system.

    Attributes:
        values: ``(C, H, W)``.
        crs: the coordinate system; empty where the input had none.
        transform: from columns and rows to coordinates.
    """

    values: np.ndarray
    crs: "CRS"
    transform: "Affine"
