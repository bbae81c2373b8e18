"""Decoding a sample (verified by xxh3, into a waiting buffer) against npz of the same native arrays; one thread."""

import io

import numpy as np

from benchmarks.harness import Figure
from benchmarks.shard_input import best_of, shards_of
from shards.codec import CODECS
from shards.shard_set import ShardSet

SIDE_PX = 120  # the largest that the real chips fill; shards have 240 unless told otherwise
TURNS = 25


def run() -> list[Figure]:
    figures = []
    for codec in CODECS:
        with shards_of(SIDE_PX, codec) as (shards, origin):
            count = min(24, len(shards))
            samples = [shards.read(i).groups for i in range(count)]
            packed = []
            for groups in samples:
                file = io.BytesIO()
                np.savez_compressed(file, **{f"g{gsd}": pixels for gsd, pixels in groups.items()})  # pyright: ignore
                packed.append(file.getvalue())

            def ours(shards: ShardSet = shards, samples: list[dict[int, np.ndarray]] = samples) -> None:
                for index, groups in enumerate(samples):
                    for gsd, pixels in groups.items():
                        shards.read_into(index, f"g{gsd}.b2nd", pixels)

            def npz(packed: list[bytes] = packed) -> None:
                for content in packed:
                    with np.load(io.BytesIO(content)) as arrays:
                        for name in arrays.files:
                            arrays[name]

            times = [(best_of(1, ours), best_of(1, npz)) for _ in range(TURNS)]  # in turns: a busy moment hits both
            fast, slow = (count / min(each) for each in zip(*times, strict=True))
            note = f"{count} samples of {SIDE_PX} px of {origin}, from the page cache, best of {TURNS} in turns"
            figures.append(Figure(f"decode {codec}", fast, "samples/s", "npz", slow,
                                  ">= 10" if codec == "default" else "", note))  # fmt: skip
    return figures
