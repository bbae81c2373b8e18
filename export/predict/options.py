"""Options of a prediction, the scenes that they open, and the command line that gives them again."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from bandloom.command_line.config import Config
from bandloom.command_line.options import Option
from bandloom.export.bundle.tiling import usual_batch
from bandloom.export.predict.scene_mapper import Pace
from bandloom.shards.scenes.options import Bands, Nodata, Offset, Scale, SensorName

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

MAP_SUFFIXES = (".tif", ".tiff")
READING = (
    "sensor",
    "band_map",
    "offset",
    "scale",
    "nodata",
    "bands",
    "bbox",
)  # what a scene is taken for; changes the numbers
FLAGS = {"band_map": "--band-order"}  # where an option is not called as its field


class PredictOptions(Config):
    """How a scene is read and run; only the precision and what the scene is taken for change the numbers."""

    batch: int | None = Field(
        default=None, gt=0, description="tiles an engine call; by default 8 of 72 pixels, or as many pixels of others"
    )
    strip_rows: int = Field(default=1, gt=0, description="tile rows held at a time")
    readers: int = Field(default=1, gt=0, description="threads that read, each its own columns")
    threads: int = Field(default=0, ge=0, description="threads of the engine; 0: its own choice")
    cache_mb: int = Field(
        default=256, gt=0, description="raster block cache in MB; should hold a row of a file's blocks"
    )
    precision: str | None = Field(
        default=None, description="precision of the model: fp32, fp16, bf16 or int8; by default the bundle's first"
    )
    runtime: str = Field(
        default="auto",
        description="runtime: auto, tensorrt, tensorrt-rtx, onnxruntime-cuda, openvino or onnxruntime-cpu",
    )
    png: bool = Field(default=False, description="also write a picture of the map")
    confidence: bool = Field(default=False, description="also write the probability of the mapped class, in percent")
    probabilities: bool = Field(default=False, description="also write the probability of every class, in percent")
    entropy: bool = Field(
        default=False, description="also write how unsure the map is: entropy, in percent of the largest"
    )
    disagreement: bool = Field(
        default=False, description="of an ensemble: also write how much its members disagree, in percent of the largest"
    )
    ood: bool = Field(
        default=False,
        description="also write how unlike the training ground a scene is: percent of held-out training ground farther",
    )
    symmetry: Annotated[
        Literal[1, 8],
        Option(
            "Average over the 8 rotations and reflections of every tile: 8, at eight times the cost; 1: do not.",
            parse=lambda text: int(text) if text.isdigit() else text,
        ),
    ] = 1
    polygons: Path | None = Field(default=None, description="also write the map as polygons: .gpkg, .fgb or .parquet")
    embeddings: bool = Field(default=False, description="also write the encoder's features, one pixel a token")
    embeddings_dtype: Literal["float32", "int8"] = Field(
        default="float32", description="of --embeddings: int8 is a byte a dimension, with its scale in the file"
    )
    embeddings_dims: int | None = Field(
        default=None, gt=0, description="of --embeddings: how many principal components to keep; by default everything"
    )
    embeddings_like: Path | None = Field(
        default=None, description="of --embeddings: earlier ones whose components and scale are taken, to be compared"
    )
    shift_check: bool = Field(default=False, description="map twice, tiles shifted by half, and say how much differs")
    sensor: SensorName = None
    band_map: Annotated[
        tuple[str, ...] | str | None,
        Option(
            "Order of bands, where files do not say: l1c, l2a, eurosat, or B02,B03,... in order.",
            "--band-order",
            parse=lambda text: tuple(text.split(",")) if "," in text else text,
        ),
    ] = None
    offset: Offset = None
    scale: Scale = None
    nodata: Nodata = None
    bands: Bands = None
    bbox: str | None = Field(default=None, description="map this box alone: west,south,east,north in degrees")

    @property
    def packing(self) -> dict[str, Any]:
        """How embeddings are made smaller, as JSON types; empty where they are not."""
        told = {name: getattr(self, f"embeddings_{name}") for name in ("dtype", "dims", "like")}
        kept = {name: value for name, value in told.items() if value not in (None, "float32")}
        return kept | ({"like": str(self.embeddings_like)} if self.embeddings_like else {})

    @property
    def pace(self) -> Pace:
        """How the work is cut."""
        return Pace(self.batch, self.strip_rows, self.readers)

    def tiles_a_call(self, tile_px: int) -> int:
        """Return how many tiles of that side an engine is given at once."""
        return self.batch or usual_batch(tile_px)

    @property
    def reading(self) -> dict[str, Any]:
        """What a scene is taken for, and how it is averaged, as JSON types; what was left open is left out."""
        said = {name: getattr(self, name) for name in READING}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in said.items() if v is not None}
        return plain | ({"symmetry": self.symmetry} if self.symmetry > 1 else {})


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
    from bandloom.shards.scenes.cut import open_cut

    told = SceneOptions(options.sensor, options.band_map, options.offset, options.scale, options.nodata, options.bands)
    if options.bbox is not None:
        return partial(open_cut, scene_path, told, options.bbox)
    return partial(open_scene, scene_path, told)  # type: ignore[return-value]


def two_dates_opener(before: str, after: str, options: PredictOptions) -> Callable[[], "Scene"]:
    """Return a function that opens one more handle of two scenes as one."""
    from bandloom.export.predict.two_dates import open_two_dates

    return partial(open_two_dates, scene_opener(before, options), scene_opener(after, options))  # type: ignore[return-value]
