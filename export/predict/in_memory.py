"""Predictions as arrays: ``bandloom.Bundle("x.bundle").predict("scene")``; needs no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bandloom.classes.label_set import LabelSet
from bandloom.errors import BundleError, SceneError
from bandloom.export.bundle.answers import probabilities, thresholds, values
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.record import Contract
from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.predict.options import PredictOptions, scene_opener
from bandloom.export.predict.scene_mapper import SceneMapper, check_sensor
from bandloom.export.predict.tile_table import classify_tiles
from bandloom.export.predict.two_dates import open_two_dates
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.runtimes.symmetry import symmetric
from bandloom.export.runtimes.verify import verify
from bandloom.shards.scenes.in_memory import Source, opener_of

if TYPE_CHECKING:
    from rasterio.crs import CRS
    from rasterio.transform import Affine

    from bandloom.shards.scenes import Scene


@dataclass(frozen=True)
class Prediction:
    """A map in memory: a pixel is 10 m of ground, or a whole tile where the model answers once a tile.

    Attributes:
        classes: the label set's codes ``(H, W)`` uint8, 255 where nothing was measured; of a model of several classes
            a tile, which ones are there, ``(K, H, W)`` bool; of a regression the values ``(H, W)`` float32 in the unit
            of the contract's target, NaN where nothing was measured.
        probabilities: of every class ``(K, H, W)`` float32, NaN where nothing was measured; None where not asked for.
        crs: the scene's coordinate system; empty where the input had none.
        transform: from columns and rows to coordinates.
        label_set: what codes and the K classes mean.
    """

    classes: np.ndarray
    probabilities: np.ndarray | None
    crs: "CRS"
    transform: "Affine"
    label_set: LabelSet


class Bundle:
    """A verified bundle and the runtime that answers for it.

    Args:
        path: the folder that ``bandloom export`` wrote.
        precision: fp32, fp16, bf16 or int8; by default the bundle's first.
        runtime: ``auto``, or the one runtime that will do.
        threads: of the runtime; 0 leaves their number to it.

    Raises:
        BundleError: the bundle is damaged, or no runtime here answers as it must.
    """

    def __init__(
        self, path: str | Path, *, precision: str | None = None, runtime: str = "auto", threads: int = 0
    ) -> None:
        bundle = read_bundle(Path(path))
        self.record, self.contract = bundle.record, bundle.contract
        self.runner: Runner = verify(bundle, precision, threads=threads, runtime=runtime)

    def predict(
        self, scene: Source, later: Source | None = None, *, probabilities: bool = False, **reading: Any
    ) -> Prediction:
        """Map a scene, or classify its tiles, and return arrays.

        Args:
            scene: a path, an opened scene, reflectance ``(C, H, W)`` as floats, or digital numbers by band group.
            later: the same ground at a later date, for a model of two dates.
            probabilities: also return the probability of every class.
            reading: how the scene is read and run: keys of
                :class:`~bandloom.export.predict.options.PredictOptions`.

        Raises:
            BundleError: the model takes another number of dates, or its answers are not finite.
            SceneError: the scene is of another sensor, or cannot be read.
        """
        return predict_arrays(self.contract, self.runner, scene, later, probabilities=probabilities, **reading)


def predict_arrays(
    contract: Contract,
    runner: Runner,
    scene: Source,
    later: Source | None = None,
    *,
    probabilities: bool = False,
    **reading: Any,
) -> Prediction:
    """Return what a model says of a scene; see :meth:`Bundle.predict`."""
    options = PredictOptions(**reading)
    runner = symmetric(runner, contract, options.symmetry)
    dates = [date for date in (scene, later) if date is not None]
    if len(dates) != contract.dates:
        raise BundleError(
            f"the model takes {contract.dates} date(s) of the same ground and was given {len(dates)}; pass"
            f" {'predict(before, after)' if contract.dates > 1 else 'predict(scene)'}."
        )
    if probabilities and contract.target is not None:
        raise BundleError(f"the model predicts {contract.target.title}, which has no probabilities; leave them out.")
    openers = [_opener(date, contract, options) for date in dates]
    opener: Callable[[], Any] = openers[0] if len(openers) == 1 else partial(open_two_dates, *openers)
    with opener() as opened:
        check_sensor(opened.sensor, contract.get_sensor(), str(opened.name))
        answer = (_values if contract.answer.continuous else _map) if contract.makes_map else _tiles
        classes, shares = answer(contract, runner, opener, options, probabilities)
        pixel = MAP_PIXEL_M if contract.makes_map else contract.tile_px * MAP_PIXEL_M
        finest_m = min(group.gsd_m for group in contract.groups)
        transform = opened.transform * opened.transform.scale(pixel / finest_m)
        return Prediction(classes, shares, opened.crs, transform, contract.get_label_set())


def _opener(source: Source, contract: Contract, options: PredictOptions) -> Callable[[], "Scene"]:
    if isinstance(source, str | Path):
        return scene_opener(str(source), options)
    for name in ("band_map", "offset", "scale", "nodata", "bands", "bbox"):
        if getattr(options, name) is not None:
            raise SceneError(
                f"{name} says how a file is read, and this scene is open already or given as arrays; leave it out, or"
                " pass the file's path."
            )
    return opener_of(source, options.sensor or contract.get_sensor())


def _map(
    contract: Contract, runner: Runner, opener: Callable[[], "Scene"], options: PredictOptions, wanted: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    labels = contract.get_label_set()
    codes = np.array(labels.codes, np.uint8)
    mapper = SceneMapper(runner, contract.tiling, len(labels), opener, pace=options.pace, dates=contract.dates)
    classes = np.full((mapper.height_px, mapper.width_px), contract.map_nodata, np.uint8)
    shares = np.full((len(labels), *classes.shape), np.nan, np.float32) if wanted else None
    for rows in mapper.rows():
        here = slice(rows.top_px, rows.top_px + len(rows.measured))
        classes[here] = np.where(rows.measured, codes[rows.logits.argmax(axis=0)], contract.map_nodata)
        if shares is not None:
            shares[:, here] = np.where(rows.measured, probabilities(contract, rows.logits), np.nan)
    return classes, shares


def _values(
    contract: Contract, runner: Runner, opener: Callable[[], "Scene"], options: PredictOptions, wanted: bool
) -> tuple[np.ndarray, None]:
    mapper = SceneMapper(runner, contract.tiling, 1, opener, pace=options.pace)
    values_px = np.full((mapper.height_px, mapper.width_px), np.nan, np.float32)
    for rows in mapper.rows():
        here = slice(rows.top_px, rows.top_px + len(rows.measured))
        values_px[here] = np.where(rows.measured, values(contract, rows.logits), np.nan)
    return values_px, None


def _tiles(
    contract: Contract, runner: Runner, opener: Callable[[], "Scene"], options: PredictOptions, wanted: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    with opener() as scene:
        side_m = contract.tile_px * MAP_PIXEL_M
        shape = (-(-int(scene.height_m) // side_m), -(-int(scene.width_m) // side_m))
    labels = contract.get_label_set()
    shares = np.full((len(labels), *shape), np.nan, np.float32)
    for tile in classify_tiles(contract, runner, opener, options):
        shares[:, tile.row_px // contract.tile_px, tile.column_px // contract.tile_px] = tile.shares
    if contract.answer.continuous:
        return shares[0], None
    if contract.answer.several:
        classes = shares >= thresholds(contract)[:, None, None]  # NaN is no class
    else:
        best = np.array(labels.codes, np.uint8)[np.nan_to_num(shares, nan=-1).argmax(axis=0)]
        classes = np.where(np.isnan(shares[0]), contract.map_nodata, best).astype(np.uint8)
    return classes, shares if wanted else None
