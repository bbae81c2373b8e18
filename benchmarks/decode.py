"""Decoding a sample (verified by xxh3, into a waiting buffer) against npz of the same native arrays; one thread.

The default codec is also set beside npz of 13 x H x W, the form in which such files are mostly shipped.
"""

import io
from functools import partial

import numpy as np

from bandloom.shards.read.shard_set import ShardSet
from bandloom.shards.store.codec import CODECS
from benchmarks.harness import Figure
from benchmarks.shard_input import best_of, many_shards_of

SIDE_PX = 120  # the largest that the real chips fill; shards have 240 unless told otherwise
SAMPLES, TURNS = 48, 15


def run() -> list[Figure]:
    figures = []
    for codec in CODECS:
        with many_shards_of(SIDE_PX, codec) as (shards, origin):
            count = min(SAMPLES, len(shards))
            samples = [shards.read(i).groups for i in range(count)]
            native, stacked = [packed(groups) for groups in samples], [packed({10: whole(g)}) for g in samples]

            def ours(shards: ShardSet = shards, samples: list[dict[int, np.ndarray]] = samples) -> None:
                for index, groups in enumerate(samples):
                    shards.read_into(index, {f"g{gsd}.b2nd": pixels for gsd, pixels in groups.items()})

            work = (ours, partial(unpack, native), partial(unpack, stacked))
            times = [[best_of(1, job) for job in work] for _ in range(TURNS)]  # in turns: a busy moment hits all
            fast, slow, slower = (count / min(turn) for turn in zip(*times, strict=True))
            note = f"{count} samples of {SIDE_PX} px of {origin}, from the page cache, best of {TURNS} in turns"
            figures.append(
                Figure(f"decode {codec}", fast, "samples/s", "npz", slow, ">= 10" if codec == "default" else "", note)
            )
            if codec == "default":
                figures.append(Figure("decode stacked", fast, "samples/s", "npz of 13 x H x W", slower, "", note))
    return figures


def packed(groups: dict[int, np.ndarray]) -> bytes:
    """Return a compressed npz of arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **{f"g{gsd}": pixels for gsd, pixels in groups.items()})  # pyright: ignore
    return file.getvalue()


def whole(groups: dict[int, np.ndarray]) -> np.ndarray:
    """Return all bands on the 10 m grid, copies where the native sampling is coarser."""
    return np.concatenate([pixels.repeat(gsd // 10, 1).repeat(gsd // 10, 2) for gsd, pixels in groups.items()])


def unpack(files: list[bytes]) -> None:
    """Read every array of npz files."""
    for content in files:
        with np.load(io.BytesIO(content)) as arrays:
            for name in arrays.files:
                arrays[name]
