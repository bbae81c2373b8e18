"""Batches of native uint16 with two workers: our loader against stock webdataset decoding the same shards."""

import time
from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any

import blosc2
import numpy as np

from bandloom.shards.read.loader import Loader
from benchmarks.harness import Figure
from benchmarks.shard_input import many_shards_of

BATCH, BATCHES, WORKERS = 16, 12, 2


def run() -> list[Figure]:
    with many_shards_of(60, "speed") as (shards, origin):
        tars = [str(path) for path in sorted(shards.path.glob("*.tar"))]
        ours, theirs = [], []
        for _ in range(3):
            loader = iter(Loader(shards, shards.indices(), BATCH, workers=WORKERS))
            ours.append(rate(loader))
            loader.close()
            theirs.append(rate(iter(webdataset_loader(tars))))
        note = f"{origin} of 60 px, speed codec, page cache, best of 3; ours verifies checksums and shuffles"
        return [
            Figure("loader_like_for_like", max(ours), "samples/s", "webdataset, same codec", max(theirs), ">= 3", note)
        ]


def rate(batches: Any) -> float:
    """Return samples a second after a warm-up of one batch a worker."""
    for _ in islice(batches, WORKERS + 2):
        pass
    began = time.perf_counter()
    for _ in islice(batches, BATCHES):
        pass
    return BATCH * BATCHES / (time.perf_counter() - began)


def webdataset_loader(tars: list[str], convert: Any = None) -> Iterable[Any]:
    """Build the usual pipeline: WebLoader with two workers, batches stacked in the workers."""
    import webdataset

    stages = webdataset.WebDataset(tars * 4000, shardshuffle=False, nodesplitter=None, empty_check=False)
    stages = stages.map(partial(decode, convert=convert)).batched(BATCH, collation_fn=stack)
    return webdataset.WebLoader(stages, batch_size=None, num_workers=WORKERS)


def decode(sample: dict[str, Any], convert: Any = None) -> dict[str, np.ndarray]:
    """Decode the three groups of one sample."""
    blosc2.set_nthreads(1)
    groups = {name: blosc2.ndarray_from_cframe(sample[f"{name}.b2nd"])[:] for name in ("g10", "g20", "g60")}
    return convert(groups) if convert else groups


def stack(samples: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Stack samples group by group."""
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
