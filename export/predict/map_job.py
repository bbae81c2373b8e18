"""One map to be made: what maps it, what it is of, where it goes, and what is written of every finished row."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from bandloom.classes.label_set import LabelSet
from bandloom.errors import BundleError, OutputError
from bandloom.export.bundle.answers import probabilities
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.bundle.record import Familiar
from bandloom.export.predict.clock import Clock
from bandloom.export.predict.map_file import percent
from bandloom.export.predict.options import MAP_SUFFIXES, PredictOptions
from bandloom.export.predict.scene_mapper import MapRows, SceneMapper
from bandloom.export.predict.uncertainty import share_farther, share_of_disagreement, share_of_entropy
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.runtimes.with_extras import with_extras

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
            BundleError: the bundle classifies whole chips, or lacks a layer that is asked for.
            OutputError: the output is no GeoTIFF.
        """
        if not self.bundle.contract.makes_map:
            raise BundleError(
                f"the bundle {self.bundle.path} classifies whole chips and makes no map; give --out a name that ends"
                " in .json or .csv for its table of tiles."
            )
        if self.options.ood and "distance" not in self.bundle.contract.extras:
            raise BundleError(
                f"the bundle {self.bundle.path} does not know its training ground; export it with --ood, or leave --ood"
                " out."
            )
        if self.options.disagreement and "disagreement" not in self.bundle.contract.extras:
            raise BundleError(
                f"the bundle {self.bundle.path} holds one model, which has nothing to disagree with; export several"
                " seeds with: bandloom export RUN --ensemble, or leave --disagreement out."
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
            with_extras(self.runner, self.extras),
            contract.tiling,
            len(self.labels),
            self.open_scene,
            pace=self.options.pace,
            shift_px=shift_px,
            dates=contract.dates,
            extras=len(self.extras),
            clock=clock,
        )

    @property
    def extras(self) -> tuple[str, ...]:
        """The further outputs of the model that are mapped."""
        asked = {"disagreement": self.options.disagreement, "distance": self.options.ood}
        return tuple(name for name in self.bundle.contract.extras if asked[name])

    def layers(self, mapper: SceneMapper) -> dict[str, tuple[int, int, int]]:
        """Return height, width and bands of every layer that is written, by name."""
        names = {name: len(bands) for name, bands in layer_bands(self.labels, self.options).items()}
        return {name: (mapper.height_px, mapper.width_px, count) for name, count in {"class": 1, **names}.items()}

    def classes(self, rows: MapRows) -> np.ndarray:
        """Return the code of the likeliest class of every pixel, ``(h, W)`` uint8, whether it was measured or not."""
        return np.array(self.labels.codes, np.uint8)[rows.logits.argmax(axis=0)]

    def finish(self, rows: MapRows) -> dict[str, np.ndarray]:
        """Turn logits into the rows of every layer: codes, and probabilities in percent."""
        contract, nodata = self.bundle.contract, self.bundle.contract.map_nodata
        extras, familiar = dict(zip(self.extras, rows.extras, strict=True)), cast("Familiar", contract.familiar)
        layers = {"class": np.where(rows.measured, self.classes(rows), nodata)}
        wanted = layer_bands(self.labels, self.options)
        if wanted:
            shares = probabilities(contract, rows.logits)
            made = {
                "confidence": lambda: shares.max(axis=0),
                "probabilities": lambda: shares,
                "entropy": lambda: share_of_entropy(shares),
                "disagreement": lambda: share_of_disagreement(contract, extras["disagreement"]),
                # whole percents below, so that 0 says: less than one
                "ood": lambda: np.floor(100 * share_farther(familiar, extras["distance"])) / 100,
            }
            for name in wanted:
                layer = percent(made[name](), rows.measured, nodata)
                layers[name] = layer if layer.ndim == 2 else np.moveaxis(layer, 0, 2)
        return layers


def layer_bands(labels: LabelSet, options: PredictOptions) -> dict[str, tuple[str, ...]]:
    """Return the names of the bands of every layer that is written beside the classes, in percent, by its name."""
    names = {
        "confidence": ("confidence_percent",),
        "probabilities": labels.names,
        "entropy": ("entropy_percent_of_largest",),
        "disagreement": ("disagreement_percent_of_largest",),
        "ood": ("percent_of_training_ground_farther",),
    }
    return {name: bands for name, bands in names.items() if getattr(options, name)}


def side_files(out: Path, options: PredictOptions) -> dict[str, Path]:
    """Return the files beside a map, by suffix."""
    layers = ("confidence", "probabilities", "entropy", "disagreement", "ood")
    wanted = {"png": options.png, **{f"{name}.tif": getattr(options, name) for name in layers}}
    names = [*(suffix for suffix, on in wanted.items() if on), "qml", "stac.json"]
    return {suffix: out.with_name(f"{out.stem}.{suffix}") for suffix in names}
