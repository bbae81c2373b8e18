"""Processor time of mapping a wide scene: the bundle as it is exported now against one whose tiles are single chips.

Both are exported from one run and map the same ground in turns, on one thread, reading, blending and all.
``BANDLOOM_RUNS=demo=RUN,S=RUN make bench NAME=scene_speed`` names trained segmenters; the processor's time and not the
clock's is counted, so that a machine shared with others answers too.
"""

import os
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from bandloom.export.bundle.bundle import Bundle
from bandloom.export.from_torch.export_run import checkpoint_of, export_run, load_model
from bandloom.export.from_torch.options import ExportOptions
from bandloom.export.predict.scene_mapper import SceneMapper
from bandloom.export.runtimes.verify import verify
from bandloom.shards.synth import SENSOR, synthesise
from benchmarks.harness import Figure
from tests.export.array_scene import ArrayScene

SIDE_PX, SEED = 960, 5001
SHAPE_PX, SCENE_PX = (408, 816), 4000  # what is mapped, and the scene that its time is counted up to, tile by tile
GOALS = {"demo": ">= 2.5", "S": ">= 1.6"}
REPEATS = {"demo": 3, "S": 2}


def run() -> list[Figure]:
    named = dict(pair.split("=", 1) for pair in os.environ.get("BANDLOOM_RUNS", "").split(",") if "=" in pair)
    if not named:
        raise SystemExit("set BANDLOOM_RUNS to trained segmenters, such as demo=demo/segment.")
    return [_figure(size, Path(trained)) for size, trained in named.items()]


def _figure(size: str, trained: Path) -> Figure:
    scene = wide_scene(*SHAPE_PX)
    chip = load_model(checkpoint_of(trained))[0].chip_px
    with tempfile.TemporaryDirectory() as folder:
        wide = export_run(trained, Path(folder) / "wide")
        single = export_run(trained, Path(folder) / "single", ExportOptions(tile_px=chip))
        pairs = [(_map(wide, scene), _map(single, scene)) for _ in range(REPEATS[size])]
    (given, _), (expected, _) = pairs[0]
    new, ratio = median(new for (_, new), _ in pairs), median(old / new for (_, new), (_, old) in pairs)
    note = (
        f"a scene of {SCENE_PX} x {SCENE_PX} px, counted up from {SHAPE_PX[0]} x {SHAPE_PX[1]} by the number of tiles;"
        f" one thread, processor time, median of {REPEATS[size]} in turns; tiles of {wide.contract.tile_px} px,"
        f" {(given == expected).mean():.5f} of the classes agree"
    )
    rate = SCENE_PX**2 / 1e6 / new
    return Figure(f"scene_speed {size}", rate, "Mpx/s", "tiles of one chip", rate / ratio, GOALS[size], note)


def wide_scene(height_px: int, width_px: int) -> ArrayScene:
    """Return generated ground, repeated to the given size, in memory."""
    made = synthesise(SIDE_PX, SEED, cloud_fraction=0.0)
    height_m, width_m = -(-height_px // 6) * 60, -(-width_px // 6) * 60
    groups = {}
    for gsd_m, dn in made.groups.items():
        rows, columns = np.arange(height_m // gsd_m) % dn.shape[1], np.arange(width_m // gsd_m) % dn.shape[2]
        groups[gsd_m] = np.ascontiguousarray(dn[:, rows][:, :, columns])
    return ArrayScene(SENSOR, groups, height_m, width_m)


def _map(bundle: Bundle, scene: ArrayScene) -> tuple[np.ndarray, float]:
    """Return the class of every pixel, and the processor time of a whole scene in seconds."""
    runner = verify(bundle, threads=1)
    began = time.process_time()
    mapper = SceneMapper(runner, bundle.contract.tiling, len(bundle.contract.get_label_set()), lambda: scene)
    classes = np.concatenate([rows.logits.argmax(axis=0).astype(np.uint8) for rows in mapper.rows()])
    a_tile = (time.process_time() - began) / mapper.tiles
    return classes, a_tile * len(bundle.contract.tiling.starts(-(-SCENE_PX // 6) * 6)) ** 2
