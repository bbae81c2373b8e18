"""Candidates of a scene: of every 60 m cell the pixel of which the model is least sure, and pixels' spectra."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bandloom.command_line.console import track
from bandloom.errors import BundleError
from bandloom.export.bundle.answers import probabilities
from bandloom.export.bundle.record import Contract
from bandloom.export.bundle.tiling import CELL_PX, MAP_PIXEL_M
from bandloom.export.predict.options import PredictOptions
from bandloom.export.predict.scene_mapper import MapRows, SceneMapper, check_sensor
from bandloom.export.predict.uncertainty import share_of_disagreement, share_of_entropy
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.runtimes.with_extras import with_extras
from bandloom.rasters.values import dn_to_reflectance

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

STRIP_M = 1200  # of a scene, read at a time for spectra


@dataclass(frozen=True)
class Candidates:
    """Pixels of a map, ``(N,)`` each.

    Args:
        rows: of the map.
        columns: of the map.
        worth: how unsure the model is, 0 to 1.
        measure: ``disagreement`` of an ensemble, else ``entropy``.
    """

    rows: np.ndarray
    columns: np.ndarray
    worth: np.ndarray
    measure: str

    @property
    def xy(self) -> np.ndarray:
        """Places in metres from the upper-left corner, ``(N, 2)``."""
        return (np.stack([self.columns, self.rows], axis=1) + 0.5) * MAP_PIXEL_M

    def some(self, which: np.ndarray) -> "Candidates":
        """Return those of an index or a mask."""
        return Candidates(self.rows[which], self.columns[which], self.worth[which], self.measure)


def candidates_of(
    contract: Contract, runner: Runner, open_scene: Callable[[], "Scene"], options: PredictOptions
) -> Candidates:
    """Return the least sure measured pixel of every 60 m cell of a scene.

    Raises:
        BundleError: the bundle maps no classes.
        SceneError: the scene is of another sensor, or cannot be read.
    """
    if not contract.makes_map or contract.answer.continuous or contract.dates > 1:
        raise BundleError(f"labels are suggested for maps of classes, and this bundle's task is {contract.task}.")
    extras = tuple(name for name in contract.extras if name == "disagreement")
    with open_scene() as scene:
        check_sensor(scene.sensor, contract.get_sensor(), str(scene.name))
        name = str(scene.name)
    classes = len(contract.get_label_set())
    mapper = SceneMapper(
        with_extras(runner, extras), contract.tiling, classes, open_scene, pace=options.pace, extras=len(extras)
    )
    parts = [_of_rows(rows, contract) for rows in track(mapper.rows(), f"mapping {name}", mapper.strips)]
    rows, columns, worth = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Candidates(rows, columns, worth, extras[0] if extras else "entropy")


def _of_rows(rows: MapRows, contract: Contract) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, column and worth of the least sure pixel of each cell with a measured one."""
    if len(rows.extras):
        worth = share_of_disagreement(contract, rows.extras[0])
    else:
        worth = share_of_entropy(probabilities(contract, rows.logits))
    height, width = worth.shape
    side = CELL_PX
    padded = np.full((-(-height // side) * side, -(-width // side) * side), -1.0, np.float32)
    padded[:height, :width] = np.where(rows.measured, worth, -1)
    cells = padded.reshape(len(padded) // side, side, -1, side).swapaxes(1, 2).reshape(-1, side * side)
    best, across = cells.argmax(axis=1), padded.shape[1] // side
    kept = cells[np.arange(len(cells)), best] >= 0
    number = np.flatnonzero(kept)
    row = number // across * side + best[kept] // side
    return rows.top_px + row, number % across * side + best[kept] % side, cells[number, best[kept]]


def spectra_at(open_scene: Callable[[], "Scene"], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the reflectance of every band at pixels of the map, ``(N, C)``; a band that is absent there has its mean.

    The scene is read by strips that hold a pixel, once each.
    """
    strip_px = STRIP_M // MAP_PIXEL_M
    with open_scene() as scene:
        count = sum(len(group.bands) for group in scene.sensor.groups)
        spectra = np.full((len(rows), count), np.nan, np.float32)
        for strip in np.unique(rows // strip_px).tolist():
            here = np.flatnonzero(rows // strip_px == strip)
            groups = scene.read((0.0, float(strip * STRIP_M), float(-(-scene.width_m // 60) * 60), float(STRIP_M)))
            samples = []
            for group in scene.sensor.groups:
                down = ((rows[here] - strip * strip_px + 0.5) * MAP_PIXEL_M // group.gsd_m).astype(np.int64)
                across = ((columns[here] + 0.5) * MAP_PIXEL_M // group.gsd_m).astype(np.int64)
                samples.append(dn_to_reflectance(groups[group.gsd_m][:, down, across]))
            spectra[here] = np.concatenate(samples).T
    known = np.isfinite(spectra)
    means = np.where(known, spectra, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, spectra, means)
