"""One map to be made: what maps it, what it is of, where it goes, and what is written of every finished row."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bandloom.errors import BundleError, OutputError
from bandloom.export.bundle.answers import probabilities
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.predict.clock import Clock
from bandloom.export.predict.map_file import percent
from bandloom.export.predict.options import MAP_SUFFIXES, PredictOptions
from bandloom.export.predict.scene_mapper import MapRows, SceneMapper
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.label_set import LabelSet

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene


@dataclass(frozen=True)
class MapJob:
    """One map.

    Attributes:
        bundle: a verified bundle whose model answers for every pixel.
        runner: what runs the model.
        open_scene: opens one more handle of the scene.
        out: the map's GeoTIFF.
        options: how.
        command: the words that a person would type for this map; empty where nobody would.
    """

    bundle: Bundle
    runner: Runner
    open_scene: "Callable[[], Scene]"
    out: Path
    options: PredictOptions
    command: tuple[str, ...] = ()

    def check(self) -> None:
        """Check that the bundle makes maps and that the output's name is a GeoTIFF's.

        Raises:
            BundleError: the bundle classifies whole chips.
            OutputError: the output is no GeoTIFF.
        """
        if not self.bundle.contract.makes_map:
            raise BundleError(
                f"the bundle {self.bundle.path} classifies whole chips and makes no map; give --out a name that ends"
                " in .json or .csv for its table of tiles."
            )
        if self.out.suffix.lower() not in MAP_SUFFIXES:
            raise OutputError(f"the output {self.out} is no GeoTIFF; give it a name that ends in .tif.")

    @cached_property
    def labels(self) -> LabelSet:
        """The classes."""
        return self.bundle.contract.get_label_set()

    @property
    def sides(self) -> dict[str, Path]:
        """The files beside the map, by suffix."""
        return side_files(self.out, self.options)

    def mapper(self, *, shift_px: int = 0, clock: Clock | None = None) -> SceneMapper:
        """Return what maps the scene; ``shift_px`` moves every tile."""
        contract = self.bundle.contract
        return SceneMapper(
            self.runner,
            contract.tiling,
            len(self.labels),
            self.open_scene,
            pace=self.options.pace,
            shift_px=shift_px,
            dates=contract.dates,
            clock=clock,
        )

    def layers(self, mapper: SceneMapper) -> dict[str, tuple[int, int, int]]:
        """Return height, width and bands of every layer that is written, by name."""
        bands = {"class": 1, "confidence": self.options.confidence, "probabilities": self.options.probabilities}
        bands["probabilities"] *= len(self.labels)
        return {name: (mapper.height_px, mapper.width_px, int(count)) for name, count in bands.items() if count}

    def classes(self, rows: MapRows) -> np.ndarray:
        """Return the code of the likeliest class of every pixel, ``(h, W)`` uint8, whether it was measured or not."""
        return np.array(self.labels.codes, np.uint8)[rows.logits.argmax(axis=0)]

    def finish(self, rows: MapRows) -> dict[str, np.ndarray]:
        """Turn logits into the rows of every layer: codes, and probabilities in percent."""
        nodata = self.bundle.contract.map_nodata
        layers = {"class": np.where(rows.measured, self.classes(rows), nodata)}
        if self.options.confidence or self.options.probabilities:
            shares = probabilities(self.bundle.contract, rows.logits)
            if self.options.confidence:
                layers["confidence"] = percent(shares.max(axis=0), rows.measured, nodata)
            if self.options.probabilities:
                layers["probabilities"] = np.moveaxis(percent(shares, rows.measured, nodata), 0, 2)
        return layers


def side_files(out: Path, options: PredictOptions) -> dict[str, Path]:
    """Return the files beside a map, by suffix."""
    wanted = {"png": options.png, "confidence.tif": options.confidence, "probabilities.tif": options.probabilities}
    names = [*(suffix for suffix, on in wanted.items() if on), "qml", "stac.json"]
    return {suffix: out.with_name(f"{out.stem}.{suffix}") for suffix in names}
