"""Memory and time of tiling an image, against terratorch's ``tiled_inference`` with the same tiles."""

from benchmarks.harness import Figure
from benchmarks.tiled_pair import BANDS, CLASSES, CROP, STRIDE, run_pair

GOALS = {1536: "<= 0.5", 4512: "<= 0.1"}


def run() -> list[Figure]:
    figures = []
    for side_px, goal in GOALS.items():
        ours, theirs = run_pair(side_px)
        note = f"{side_px} px square, {BANDS} bands, {CLASSES} classes, crop {CROP}, stride {STRIDE}; imports included;"
        note += " ours reads and writes strips, terratorch's default holds image and logits"
        note += " (it can be given sources and sinks)"
        memory, seconds = (ours.needed.mib, theirs.needed.mib), (ours.needed.seconds, theirs.needed.seconds)
        figures += [
            Figure(f"tiled_vs_terratorch memory {side_px}", memory[0], "MiB", "terratorch", memory[1], goal, note),
            Figure(f"tiled_vs_terratorch time {side_px}", seconds[0], "s", "terratorch", seconds[1], "<= 1", note),
        ]
    return figures
