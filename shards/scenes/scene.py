"""The scene interface: native band groups by windows in metres, whatever the file format."""

from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from bandloom.sensors import Sensor

WindowM = tuple[float, float, float, float]  # (x offset, y offset, width, height) from the upper-left corner, metres
ALIGN_M = 60  # windows are multiples of this: the coarsest pixel


@runtime_checkable
class Scene(Protocol):
    """A scene in a metric coordinate system, read by windows; every reader gives this and nothing more."""

    name: str
    sensor: Sensor
    crs: CRS
    transform: Affine  # of the finest stored grid
    datetime: datetime | None
    height_m: float
    width_m: float
    provenance: dict[str, Any]

    @property
    def footprint(self) -> tuple[float, float, float, float]:
        """West, south, east and north in degrees."""
        ...

    def read(self, window_m: WindowM) -> dict[int, np.ndarray]:
        """Return ``{gsd_m: (C, H, W)}`` uint16 DN of a window; what lies outside the scene is 0."""
        ...

    def cloud(self, window_m: WindowM) -> np.ndarray | None:
        """Return ``(H10, W10)`` bool, True under cloud, or None when the source does not say."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...

    def __enter__(self) -> "Scene": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class WalkedScene(Protocol):
    """A scene that can be told that it is about to be read from top to bottom."""

    def walk_down(self) -> None:
        """Expect windows over the whole width from top to bottom: every block of the files is then decoded once."""
        ...
