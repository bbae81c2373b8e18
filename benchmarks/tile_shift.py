"""How far two maps disagree whose tiles lie half a stride apart, how right they are, and their time, margin by margin.

The default margin is chosen from this. It needs a trained bundle and a scene, with labels where they are known:
``BANDLOOM_BUNDLE=demo/segment.bundle BANDLOOM_SCENE=... [BANDLOOM_LABELS=mask.tif] make bench NAME=tile_shift``
(``bandloom demo`` leaves all three). The margin is no part of a model, so one bundle answers for all of them.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import rasterio

from bandloom.export.bundle.bundle import Bundle, read_bundle
from bandloom.export.bundle.tiling import CELL_PX, Tiling
from bandloom.export.predict.scene_mapper import Pace, SceneMapper
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.runtimes.verify import verify
from bandloom.shards.scenes import Scene, open_scene
from benchmarks.harness import Figure

BATCH = 16
SMALLEST_CORE = 4 * CELL_PX
MOST_TILES = 6  # times the tiles of no margin: nobody maps at that price


@dataclass(frozen=True)
class Measured:
    """One tiling: the class of every pixel, where it was measured, and what it took."""

    classes: np.ndarray
    measured: np.ndarray
    tiles: int
    seconds: float

    def differs(self, other: "Measured") -> float:
        """Return the share of measured pixels whose class is another one, in percent."""
        return 100 * float((self.classes != other.classes)[self.measured].mean())


def run() -> list[Figure]:
    bundle, opener, labels = _inputs()
    runner = verify(bundle, threads=1)
    tile = bundle.contract.tile_px
    widest = (tile - SMALLEST_CORE) // 2 // CELL_PX * CELL_PX
    reference = _map(runner, bundle, opener, Tiling(tile, widest, 0))
    figures, rival = [], None
    for margin in range(0, widest + 1, CELL_PX):
        own = bundle.contract.tiling.taper_px
        for taper in sorted({min(width, (tile - 2 * margin) // 2) for width in (0, CELL_PX, margin, own)}):
            tiling = Tiling(tile, margin, taper)
            if (tile / tiling.stride_px) ** 2 > MOST_TILES:
                continue
            plain = _map(runner, bundle, opener, tiling)
            shift = plain.differs(_map(runner, bundle, opener, tiling, tiling.half_stride_px))
            rival = shift if rival is None else rival
            right = "" if labels is None else f", accuracy {_accuracy(plain, labels, bundle):.4f}"
            note = (
                f"tile {tile} px, core {tiling.core_px}, {plain.tiles} tiles, {plain.seconds:.1f} s, one thread;"
                f" {plain.differs(reference):.2f} % differ from the widest margin{right}"
            )
            figures.append(
                Figure(
                    f"tile_shift margin {margin} taper {taper}",
                    shift,
                    "% differ",
                    "no margin, no taper",
                    rival,
                    "",
                    note,
                )
            )
    return figures


def _inputs() -> tuple[Bundle, Callable[[], Scene], np.ndarray | None]:
    given = {name: os.environ.get(f"BANDLOOM_{name}") for name in ("BUNDLE", "SCENE", "LABELS")}
    if not given["BUNDLE"] or not given["SCENE"]:
        raise SystemExit("set BANDLOOM_BUNDLE and BANDLOOM_SCENE to a trained segmenter's bundle and a scene.")
    labels = None
    if given["LABELS"]:
        with rasterio.open(given["LABELS"]) as file:
            labels = file.read(1)
    return read_bundle(Path(given["BUNDLE"])), partial(open_scene, given["SCENE"]), labels


def _map(runner: Runner, bundle: Bundle, opener: Callable[[], Scene], tiling: Tiling, shift_px: int = 0) -> Measured:
    classes = len(bundle.contract.get_label_set())
    began = time.perf_counter()
    mapper = SceneMapper(runner, tiling, classes, opener, pace=Pace(batch=BATCH), shift_px=shift_px)
    rows = [(part.logits.argmax(axis=0).astype(np.uint8), part.measured) for part in mapper.rows()]
    took_s = time.perf_counter() - began
    return Measured(np.concatenate([c for c, _ in rows]), np.concatenate([m for _, m in rows]), mapper.tiles, took_s)


def _accuracy(found: Measured, labels: np.ndarray, bundle: Bundle) -> float:
    """Return the share of labelled pixels whose code is right."""
    codes = np.array(bundle.contract.get_label_set().codes)
    counted = np.isin(labels, codes) & found.measured
    return float((codes[found.classes] == labels)[counted].mean())
