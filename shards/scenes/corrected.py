"""A scene with atmospheric correction: the same interface, its dark objects measured when first read."""

import math
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np

from bandloom.errors import SceneError
from bandloom.shards.scenes.atmosphere import METHODS, correct, dark_reflectance
from bandloom.shards.scenes.scene import ALIGN_M, Scene, WalkedScene, WindowM

_STRIP_M = 40 * ALIGN_M
_SAMPLES_A_BAND = 4_000_000


class CorrectedScene:
    """Wraps a scene of top-of-atmosphere reflectance; closing it closes the scene."""

    def __init__(self, scene: Scene, method: str) -> None:
        """Take a scene and ``dos1`` or ``cost``.

        Raises:
            SceneError: the method is not known, the scene holds surface reflectance, or cost lacks the sun's height.
        """
        if method not in METHODS:
            raise SceneError(f"--atmosphere {method!r} is not known; use one of {', '.join(METHODS)}.")
        if scene.sensor.reflectance != "toa":
            raise SceneError(
                f"{scene.name} holds surface reflectance; the air is out already: use --atmosphere none for it."
            )
        sun = scene.provenance.get("sun_degrees", {})
        self._elevation = sun.get("elevation", 90.0 - sun["zenith"] if "zenith" in sun else None)
        if method == "cost" and self._elevation is None:
            raise SceneError(f"{scene.name} does not state the sun's height, which cost needs; use --atmosphere dos1.")
        self._scene, self._method = scene, method
        self.name, self.sensor, self.crs, self.transform = scene.name, scene.sensor, scene.crs, scene.transform
        self.datetime, self.footprint = scene.datetime, scene.footprint
        self.height_m, self.width_m = scene.height_m, scene.width_m
        self.provenance: dict[str, Any] = scene.provenance | {"atmosphere": method}

    @cached_property
    def dark(self) -> dict[str, float]:
        """The dark value of every band over the whole scene, thinned evenly to four million samples."""
        kept: dict[str, list[np.ndarray]] = {slot: [] for slot in self.sensor.slots}
        width = math.ceil(self.width_m / ALIGN_M) * ALIGN_M
        for top in range(0, math.ceil(self.height_m), _STRIP_M):
            strip = self._scene.read((0, top, width, _STRIP_M))
            for group in self.sensor.groups:
                total = self.width_m * self.height_m / group.gsd_m**2
                step = max(1, math.ceil(total / _SAMPLES_A_BAND))
                for slot, band in zip(group.slots, strip[group.gsd_m], strict=True):
                    kept[slot].append(band.ravel()[::step])
        dark = dark_reflectance(self.sensor, {slot: np.concatenate(parts) for slot, parts in kept.items()})
        self.provenance["dark_reflectance"] = dark
        return dark

    def read(self, window_m: WindowM) -> dict[int, np.ndarray]:
        """Return corrected ``{gsd_m: (C, H, W)}`` uint16 DN of a window."""
        elevation = 90.0 if self._elevation is None else float(self._elevation)
        return correct(self._scene.read(window_m), self.sensor, self.dark, self._method, elevation)

    def cloud(self, window_m: WindowM) -> np.ndarray | None:
        """Return ``(H10, W10)`` bool, True under cloud, or None when the source does not say."""
        return self._scene.cloud(window_m)

    def walk_down(self) -> None:
        """Expect windows over the whole width from top to bottom, once the dark objects are found."""
        if isinstance(self._scene, WalkedScene):
            _ = self.dark
            self._scene.walk_down()

    def close(self) -> None:
        """Close the scene."""
        self._scene.close()

    def __enter__(self) -> "CorrectedScene":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
