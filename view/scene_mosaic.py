"""Several scenes under one map: a pixel is of the first scene that measured it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bandloom.errors import SceneError
from bandloom.rasters.web_tiles import beside
from bandloom.view.class_map import ClassMap
from bandloom.view.scene_bands import SceneBands


class SceneMosaic(SceneBands):
    """Scenes beside each other, of the bands that all of them have, stretched alike."""

    def __init__(self, scenes: Sequence[SceneBands]) -> None:
        """Lay scenes beside each other, the first on top.

        Raises:
            SceneError: they have no band in common.
        """
        first = scenes[0]
        self._scenes = tuple(scenes)
        self.name, self.path = " and ".join(scene.name for scene in scenes), first.path
        self.bands = {name: band for name, band in first.bands.items() if all(name in one.bands for one in scenes)}
        if not self.bands:
            named = " and ".join(str(one.path) for one in scenes)
            raise SceneError(f"{named} have no band in common; name scenes of one sensor.")
        self.bounds = None
        for scene in scenes:
            if scene.bounds is not None:
                own = self.bounds or scene.bounds
                west, south, east, north = beside(own, scene.bounds)
                self.bounds = min(own[0], west), min(own[1], south), max(own[2], east), max(own[3], north)
        self.stretch = {}
        for name in self.bands:
            lows, highs = zip(*(scene.stretch[name] for scene in scenes), strict=True)
            self.stretch[name] = sum(lows) / len(lows), sum(highs) / len(highs)

    @property
    def parts(self) -> Sequence[SceneBands]:
        """The scenes, the first on top."""
        return self._scenes

    def spectrum(self, longitude: float, latitude: float) -> list[dict[str, Any]]:
        """Return the spectrum of the first scene that measured the place."""
        spectra = (scene.spectrum(longitude, latitude) for scene in self._scenes)
        return next((bars for bars in spectra if bars), [])


def scenes_under(paths: Sequence[Path], shown: ClassMap | None) -> SceneBands | None:
    """Return what lies under a map: one scene, or several of a mosaic in the order of its maps; None without a path.

    Raises:
        SceneError: one of them holds no band of the map's sensor.
    """
    if not paths:
        return None
    told = _told(shown, len(paths))
    scenes = [SceneBands(path, bands) for path, bands in zip(paths, told, strict=True)]
    return scenes[0] if len(scenes) == 1 else SceneMosaic(scenes)


def _told(shown: ClassMap | None, count: int) -> Sequence[Sequence[Mapping[str, Any]]]:
    """Return which band lies where in each scene, as the map's tags tell it."""
    if shown is None:
        return [()] * count
    each = [bands for bands in shown.mosaic_bands if bands]
    if len(each) == count:
        return each
    return [shown.scene_bands or (each[0] if each else ())] * count
