"""The same cheap model with a planted border error, tiled by this project and by terratorch, each in its own process.

terratorch lives in an environment of its own: ``TERRATORCH_PYTHON=/path/to/python make bench NAME=seam``. The model
maps a pixel's value to one of ten classes and adds an error that fades with the distance from the tile's border, as a
network that misses its context does. What a tiling gets wrong is then known exactly.
"""

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.process_peak import Needed, run_python

CROP, STRIDE, MARGIN = 126, 96, 12  # 12 px cut off, 6 px blended: the same for both
BANDS, CLASSES, VALUES = 4, 10, 600

MODEL = f"""
import numpy as np
side = np.minimum(np.arange({CROP}), {CROP} - 1 - np.arange({CROP}))
fade = (4 * np.exp(-np.minimum(side[:, None], side[None]) / 4)).astype(np.float32)
error = np.random.default_rng(1).normal(size=({CLASSES}, {CROP}, {CROP})).astype(np.float32) * fade
def logits(mean):  # (B, H, W) mean of the bands
    near = mean[:, None] / {VALUES} - np.arange({CLASSES}, dtype=np.float32)[None, :, None, None] - 0.5
    return -np.abs(near) + error
"""
OURS = (
    MODEL
    + """
from bandloom.export.predict.scene_mapper import Pace, SceneMapper
from bandloom.export.bundle.tiling import Tiling
class Scene:
    height_m = width_m = {n} * 10.0
    def __init__(self):
        self.dn = np.load({source!r}, mmap_mode="r")  # for its shape and where its bytes begin
        self.file = open({source!r}, "rb")
    def read(self, window_m):
        x, y, width, height = (int(side) // 10 for side in window_m)
        bands, rows, columns = self.dn.shape
        out = np.zeros((bands, height, width), np.uint16)
        for band, part in enumerate(out):
            self.file.seek(self.dn.offset + 2 * (band * rows + y) * columns)
            seen = np.fromfile(self.file, np.uint16, min(height, rows - y) * columns).reshape(-1, columns)
            part[: len(seen), : min(width, columns - x)] = seen[:, x : x + width]
        return {{10: out}}
    def close(self):
        self.file.close()
    def __enter__(self): return self
    def __exit__(self, *exception): self.close()
class Runner:
    name = "planted"
    lanes = 1
    def run(self, groups):
        return logits(groups[10].astype(np.float32).mean(axis=1))
mapper = SceneMapper(Runner(), Tiling({crop}, {margin}, {taper}), {classes}, Scene, pace=Pace(batch=16))
with open({out!r}, "wb") as out:
    np.lib.format.write_array_header_1_0(out, dict(descr="|u1", fortran_order=False, shape=({n}, {n})))
    for rows in mapper.rows():
        out.write(rows.logits.argmax(axis=0).astype(np.uint8).tobytes())
"""
)
THEIRS = (
    MODEL
    + """
import ast, importlib, importlib.util, sys, torch, types, warnings
torch.set_num_threads(1)
place = importlib.util.find_spec("terratorch").submodule_search_locations[0]
# the function and the one it calls, without the packages' own imports: those cost 1 GB, and fail beside a CPU torch
for name in ("terratorch", "terratorch.models", "terratorch.tasks", "terratorch.models.utils"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [place + "/" + "/".join(name.split(".")[1:])]
utils = sys.modules["terratorch.models.utils"]
utils.__dict__.update(torch=torch, nn=torch.nn, warnings=warnings)
tree = ast.parse(open(place + "/models/utils.py").read())
tree.body = [node for node in tree.body if getattr(node, "name", "") == "pad_images"]
exec(compile(tree, "utils.py", "exec"), utils.__dict__)
tiling = importlib.import_module("terratorch.tasks.tiled_inference")
image = torch.from_numpy(np.load({source!r}).astype(np.float32))[None]
def model(chips):
    return torch.from_numpy(logits(chips.numpy().mean(axis=1)))
answer = tiling.tiled_inference(model, image, crop={crop}, stride={stride}, delta={delta}, batch_size=16)
np.save({out!r}, answer[0].argmax(dim=0).to(torch.uint8).numpy())
"""
)


@dataclass(frozen=True)
class Tiled:
    """What one tiling needed, and the share of pixels that it got wrong."""

    needed: Needed
    wrong: float


def run_pair(side_px: int, delta: int = MARGIN) -> tuple[Tiled, Tiled]:
    """Tile one image of ``side_px`` by both and return ours and theirs."""
    rival = os.environ.get("TERRATORCH_PYTHON")
    if not rival:
        raise SystemExit("set TERRATORCH_PYTHON to a python that has terratorch (pip install terratorch).")
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "image.npy", Path(folder) / "classes.npy"
        truth = _write_image(source, side_px)
        values = {
            "n": side_px,
            "source": str(source),
            "out": str(out),
            "crop": CROP,
            "stride": STRIDE,
            "delta": delta,
            "margin": MARGIN,
            "taper": CROP - STRIDE - 2 * MARGIN,
            "classes": CLASSES,
        }
        results = []
        for body, python in ((OURS, sys.executable), (THEIRS, rival)):
            needed = run_python(_fill(body, values), python)
            results.append(Tiled(needed, float((np.load(out) != truth).mean())))
        return results[0], results[1]


def _fill(body: str, values: dict[str, object]) -> str:
    plain = body.removeprefix(MODEL)
    return MODEL + plain.format(**values)


def _write_image(path: Path, side_px: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, VALUES * CLASSES, (BANDS, -(-side_px // 8), -(-side_px // 8))).astype(np.uint16)
    image = np.maximum(coarse.repeat(8, 1).repeat(8, 2)[:, :side_px, :side_px], 1)
    np.save(path, image)
    mean = image.astype(np.float32).mean(axis=0)
    near = np.stack([-np.abs(mean / VALUES - k - 0.5) for k in range(CLASSES)])
    return near.argmax(axis=0).astype(np.uint8)
