"""Published splits: the role that the authors of a set gave each sample, by the name of the split."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bandloom.shards.build.duplicates import exact_copies
from bandloom.shards.build.geography import BUFFER_SPLIT
from bandloom.shards.store.index import Entry

NOWHERE = "nowhere"  # the cell of samples without a place


def cell_of(published: Mapping[str, str]) -> str:
    """Return the name of the cell that all samples of the same published roles share, such as ``random=train``."""
    return ";".join(f"{split}={role}" for split, role in sorted(published.items())) or "unlisted"


def split_of_published(entries: Iterable[Entry], split: str) -> dict[str, str]:
    """Return the split of every cell: the role under the named published split, or the buffer for those in none."""
    return {entry.cells[0]: (entry.published or {}).get(split, BUFFER_SPLIT) for entry in entries}


def describe_published(entries: Sequence[Entry], default: str) -> dict[str, Any]:
    """Return what the manifest says: which split fills ``split``, and how many samples have each role under each."""
    counts: dict[str, Counter[str]] = {default: Counter()}
    for entry in entries:
        for split, role in (entry.published or {}).items():
            counts.setdefault(split, Counter())[role] += 1
    return {"default": default, "splits": {split: dict(sorted(of.items())) for split, of in counts.items()}}


def say_shared(entries: Sequence[Entry], default: str) -> str | None:
    """Return one sentence on samples of different roles with the same pixels, which a published split keeps."""
    by_key = {entry.key: (entry.published or {}).get(default) for entry in entries}
    shared = [(one, two) for one, two in exact_copies(entries).items() if by_key[one] != by_key[two]]
    if not shared:
        return None
    return (
        f"{len(shared)} samples repeat the pixels of a sample with another role under the published split {default!r}"
        f" (such as {shared[0][0]} and {shared[0][1]}): it is kept as published, and its scores flatter by them"
    )
