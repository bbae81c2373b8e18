"""What the container costs alone: stored frames, not compressed, against memcpy of the same bytes; one thread."""

import blosc2
import numpy as np

from bandloom.shards.store.codec import decode_into
from bandloom.shards.synth import synthesise
from benchmarks.harness import Figure
from benchmarks.shard_input import best_of

SAMPLES = 96  # 62 MB: more than any cache holds


def run() -> list[Figure]:
    blosc2.set_nthreads(1)
    scene = synthesise(240, 0).groups
    groups = [{gsd: pixels.copy() for gsd, pixels in scene.items()} for _ in range(SAMPLES)]
    nbytes = sum(pixels.nbytes for group in groups for pixels in group.values())
    copies = [{gsd: pixels.copy() for gsd, pixels in group.items()} for group in groups]
    frames = [{gsd: stored(pixels) for gsd, pixels in group.items()} for group in groups]

    def memcpy() -> None:
        for to, source in zip(copies, groups, strict=True):
            for gsd, pixels in source.items():
                np.copyto(to[gsd], pixels)

    def raw() -> None:
        for to, source in zip(copies, frames, strict=True):
            for gsd, frame in source.items():
                decode_into(frame, to[gsd], "raw")

    ours, limit = (nbytes / best_of(7, work) / 1e9 for work in (raw, memcpy))
    note = "240 px samples, three frames each, without checksums, best of 7"
    return [Figure("loader_raw", ours, "GB/s", "memcpy", limit, ">= 0.5", note)]


def stored(pixels: np.ndarray) -> bytes:
    """Return a frame of the shards' layout without compression."""
    cparams = {"clevel": 0, "filters": [blosc2.Filter.NOFILTER], "filters_meta": [0], "typesize": 2, "nthreads": 1}
    block = (1, *pixels.shape[1:])
    return blosc2.asarray(pixels, chunks=pixels.shape, blocks=block, cparams=cparams).to_cframe()  # pyright: ignore
