"""Options of a prediction, the scenes that they open, and the command line that gives them again."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bandloom.config import Config
from bandloom.export.predict.scene_mapper import Pace

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

MAP_SUFFIXES = (".tif", ".tiff")
READING = ("sensor", "band_map", "offset", "scale", "nodata", "bands")  # what a scene is taken for; changes the numbers
FLAGS = {"band_map": "--band-order"}  # where an option is not called as its field


class PredictOptions(Config):
    """How a scene is read and run; only the precision and what the scene is taken for change the numbers."""

    precision: str | None = Field(default=None, description="which model of the bundle; null is its first")
    runtime: str = Field(default="auto", description="auto, or the one runtime that will do")
    batch: int = Field(default=8, gt=0, description="tiles an engine call")
    strip_rows: int = Field(default=1, gt=0, description="tile rows held at a time")
    readers: int = Field(default=1, gt=0, description="threads that read, each its own columns")
    threads: int = Field(default=0, ge=0, description="threads of the engine; 0 leaves it to the runtime")
    cache_mb: int = Field(default=256, gt=0, description="raster block cache; should hold one row of a file's blocks")
    png: bool = Field(default=False, description="also write a picture of the map")
    confidence: bool = Field(default=False, description="also write the probability of the mapped class, in percent")
    probabilities: bool = Field(default=False, description="also write the probability of every class, in percent")
    embeddings: bool = Field(default=False, description="also write the encoder's features, one pixel a token")
    shift_check: bool = Field(default=False, description="map twice, tiles shifted by half, and say how much differs")
    sensor: str | None = Field(default=None, description="the scene's sensor, where the scene does not say")
    band_map: tuple[str, ...] | str | None = Field(
        default=None, description="the scene's bands in file order, or its name"
    )
    offset: int | None = Field(default=None, description="the scene's radiometric offset, where the scene does not say")
    scale: str | None = Field(default=None, description="GAIN or GAIN,OFFSET from the scene's values to reflectance")
    nodata: str | None = Field(default=None, description="the scene's value that stands for absent, or none")
    bands: str | None = Field(default=None, description="the scene's bands to read; with a minus each, to leave out")

    @property
    def pace(self) -> Pace:
        """How the work is cut."""
        return Pace(self.batch, self.strip_rows, self.readers)

    @property
    def reading(self) -> dict[str, Any]:
        """What a scene is taken for, as JSON types; what was left open is left out."""
        said = {name: getattr(self, name) for name in READING}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in said.items() if v is not None}


def command_of(bundle: Path, scenes: Sequence[str], out: Path, options: PredictOptions) -> list[str]:
    """Return the command that predicts ``scenes`` with these options; of two scenes, what changed between them."""
    words = ["--change", *scenes] if len(scenes) > 1 else list(scenes)
    for name, value in options:
        flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
        if value is True:
            words.append(flag)
        elif value != PredictOptions.model_fields[name].default:
            words += [flag, ",".join(value) if isinstance(value, tuple) else str(value)]
    return ["bandloom", "predict", str(bundle), *words, "--out", str(out)]


def scene_opener(scene_path: str, options: PredictOptions) -> Callable[[], "Scene"]:
    """Return a function that opens one more handle of the scene."""
    from bandloom.shards.scenes import SceneOptions, open_scene

    told = SceneOptions(options.sensor, options.band_map, options.offset, options.scale, options.nodata, options.bands)
    return partial(open_scene, scene_path, told)  # type: ignore[return-value]


def two_dates_opener(before: str, after: str, options: PredictOptions) -> Callable[[], "Scene"]:
    """Return a function that opens one more handle of two scenes as one."""
    from bandloom.export.predict.two_dates import open_two_dates

    return partial(open_two_dates, scene_opener(before, options), scene_opener(after, options))  # type: ignore[return-value]
