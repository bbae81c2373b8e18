"""Decoding a sample (verified by xxh3, into a waiting buffer) against npz of the same native arrays; one thread."""

import io

import numpy as np

from benchmarks.harness import Figure
from benchmarks.shard_input import best_of, shards_of
from shards.codec import CODECS
from shards.shard_set import ShardSet


def run() -> list[Figure]:
    figures = []
    for codec in CODECS:
        with shards_of(60, codec) as (shards, origin):
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

            fast, slow = (count / best_of(7, work) for work in (ours, npz))
            note = f"{count} samples of 60 px of {origin}, from the page cache, best of 7"
            figures.append(Figure(f"decode {codec}", fast, "samples/s", "npz", slow,
                                  ">= 10" if codec == "default" else "", note))  # fmt: skip
    return figures
