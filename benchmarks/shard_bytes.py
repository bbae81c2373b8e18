"""Bytes of a stored sample against 13 x H x W uint16 at 10 m, the form most data sets ship."""

from bandloom.shards.store.codec import CODECS
from benchmarks.harness import Figure
from benchmarks.shard_input import shards_of

SIDE_PX = 96  # the real chips have 100


def run() -> list[Figure]:
    figures = []
    for codec in CODECS:
        with shards_of(SIDE_PX, codec) as (shards, origin):
            stored = sum(size for e in shards.entries for suffix, (_, size) in e.members.items() if suffix[0] == "g")
            full = 13 * SIDE_PX**2 * 2
            figures.append(
                Figure(
                    f"shard_bytes {codec}",
                    stored / len(shards) / 1e3,
                    "kB",
                    "13 x H x W uint16",
                    full / 1e3,
                    f"<= {1 / 3.5:.4f}" if codec == "default" else "",
                    f"{len(shards)} whole samples of {origin}",
                )
            )
    return figures
