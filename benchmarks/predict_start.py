"""Processor time of ``bandloom predict`` on a small scene, from start to end, beside importing what it imports.

The engine is tiny, so that what is left is the program: imports, the session, the golden chips' replay, opening,
checking and writing. ``BANDLOOM_BUNDLE`` names another bundle, whose own computing then counts too.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Figure
from tests.export.stack_file import write_stack
from tests.export.tiny_model import write_tiny_bundle

SIDE_PX, TURNS = 240, 5
IMPORTS = (
    "import bandloom.cli, bandloom.export.cli, bandloom.export.predict.many_scenes,"
    " bandloom.export.predict.one_scene, onnxruntime"
)


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        given = os.environ.get("BANDLOOM_BUNDLE")
        bundle = Path(given) if given else write_tiny_bundle(place / "bundle")
        scene = write_stack(place / "scene.tif", (SIDE_PX, SIDE_PX))
        program, imports = float("inf"), float("inf")
        for turn in range(TURNS):
            words = ["-m", "bandloom.cli", "predict", str(bundle), str(scene), "--out", str(place / f"{turn}.tif")]
            program = min(program, processor_s(words))
            imports = min(imports, processor_s(["-c", IMPORTS]))
    note = f"{SIDE_PX} px a side, {'a tiny engine' if given is None else bundle.name}; best of {TURNS}, interleaved"
    return [Figure("predict_start", program, "s", "its imports alone", imports, "<= 1.5", note)]


def processor_s(words: list[str]) -> float:
    """Return the processor time of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
