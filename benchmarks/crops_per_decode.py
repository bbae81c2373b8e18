"""Samples a second of one core: four crops of 120 pixels for one decoding of 240, against one crop a decoding."""

import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

from bandloom.shards.build.build import build
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.read.loader import Batch, Loader
from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.synth.write import write_scenes
from benchmarks.harness import Figure

BATCH, CROPS, REPEATS = 16, 4, 5
BATCHES = 64 * CROPS  # a span at this size: every sample's first crop to its last


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as place:
        write_scenes(Path(place) / "synth", 4, 960, 0)
        build([str(Path(place) / "synth" / "scenes")], Path(place) / "set", BuildOptions(240))
        shards = ShardSet(Path(place) / "set")
        several, single = (
            iter(Loader(shards, shards.indices(None), BATCH, crop_px=120, crops=crops, workers=0))
            for crops in (CROPS, 1)
        )
        pairs = [(_rate(several), _rate(single)) for _ in range(1 + REPEATS)][1:]  # the first one touches fresh memory
    one = median(rate for _, rate in pairs)
    ratio = median(rate / other for rate, other in pairs)
    note = (
        f"samples of 240 px with all bands, page cache, processor time of one thread, median of {REPEATS} in turns,"
        " memory touched before"
    )
    return [Figure("crops_per_decode", ratio * one, "samples/s a core", "one crop a decoding", one, ">= 2.5", note)]


def _rate(batches: Iterator[Batch]) -> float:
    """Return samples a second of processor time over a whole span."""
    began = time.process_time()
    count = sum(len(batch.keys) for batch in islice(batches, BATCHES))
    return count / (time.process_time() - began)
