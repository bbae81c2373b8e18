"""Wall time of mapping a scene against the larger of its parts alone: the engine on the same tiles, or the decoding.

Both parts run in the same process, with the same threads, right before the whole.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.bundle.tiling import Tiling
from bandloom.export.from_torch.export_run import contract_of_model, write_bundle
from bandloom.export.from_torch.held_chips import Ground
from bandloom.export.from_torch.tile_sizes import default_tiling
from bandloom.export.predict.map_scene import PredictOptions, map_scene
from bandloom.export.predict.scene_mapper import SceneMapper
from bandloom.export.predict.strips import StripReader
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.runtimes.verify import verify
from bandloom.shards.scenes import Scene, open_scene
from benchmarks.harness import Figure
from benchmarks.ort import THREADS, _model
from tests.export.stack_file import write_stack

SIZE_PX = (432, 864)
BATCH = 8


class _Recorder:
    """Keeps the batches that a scene is cut into, to run them again without the scene."""

    name = "recorder"
    lanes = 1

    def __init__(self, classes: int, tile_px: int) -> None:
        self.batches: list[Groups] = []
        self._answer = np.zeros((BATCH, classes, tile_px, tile_px), np.float32)

    def run(self, groups: Groups) -> np.ndarray:
        self.batches.append(groups)
        return self._answer[: len(next(iter(groups.values())))]


def run() -> list[Figure]:
    model = _model()
    contract = contract_of_model(model, default_tiling(model))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "bundle").mkdir()
        write_bundle(place / "bundle", "bench", model, contract, Ground(), {})
        opener = partial(open_scene, write_stack(place / "scene.tif", SIZE_PX))
        bundle = read_bundle(place / "bundle")
        runner = verify(bundle, threads=THREADS)
        engine, decoding = _parts(runner, bundle.contract.tiling, len(contract.get_label_set()), opener)
        began = time.perf_counter()
        map_scene(bundle, runner, opener, place / "map.tif", PredictOptions(batch=BATCH, threads=THREADS))
        whole = time.perf_counter() - began
    rival = "the engine alone" if engine > decoding else "the decoding alone"
    parts = f"engine {engine:.1f} s, decoding {decoding:.1f} s"
    note = f"{SIZE_PX[0]} x {SIZE_PX[1]} px, size S, {THREADS} engine thread; {parts}"
    return [Figure("scene_overhead", whole, "s", rival, max(engine, decoding), "<= 1.2", note)]


def _parts(runner: Runner, tiling: Tiling, classes: int, opener: Callable[[], Scene]) -> tuple[float, float]:
    recorder = _Recorder(classes, tiling.tile_px)
    mapper = SceneMapper(recorder, tiling, classes, opener)
    list(mapper.rows())
    runner.run(recorder.batches[0])
    began = time.perf_counter()
    for batch in recorder.batches:
        runner.run(batch)
    engine = time.perf_counter() - began
    strips = [[start] for start in tiling.starts(SIZE_PX[0])]
    began = time.perf_counter()
    with StripReader(opener, SIZE_PX, tiling, strips) as reader:
        for _ in reader:
            pass
    return engine, time.perf_counter() - began
