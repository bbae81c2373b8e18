"""Which split every sample of a build goes to: one for all, the corpus's published one, or geography."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bandloom.command_line.console import logger
from bandloom.shards.build.geography import BUFFER_M, BUFFER_SPLIT, SPLIT_RULES, split_of
from bandloom.shards.store.index import Entry

PUBLISHED, GEOGRAPHY = SPLIT_RULES
_CELLS = f"one-degree cells by hash, {BUFFER_M:g} m buffer"


@dataclass(frozen=True)
class Chosen:
    """A split for each entry, and the rule in words."""

    splits: tuple[str, ...]
    rule: str


def choose_splits(entries: Sequence[Entry], cells: Mapping[str, str], told: str | None) -> Chosen:
    """Return every entry's split.

    Args:
        entries: all samples.
        cells: the split of every one-degree cell.
        told: train, val or test for all; ``published`` or ``geography``; None: published where a sample has one.
    """
    by_cells = {entry.cells: split_of(entry.cells, cells) for entry in entries}
    published = [(entry.origin or {}).get("split") for entry in entries]
    if told is not None and told not in SPLIT_RULES:
        _say_moved(published, [told] * len(entries), f"--split {told}")
        return Chosen((told,) * len(entries), f"all in {told}")
    if told == GEOGRAPHY or not any(published):
        chosen = tuple(by_cells[entry.cells] for entry in entries)
        _say_moved(published, chosen, "--split geography")
        return Chosen(chosen, _CELLS)
    held: dict[str, set[str]] = {}
    for split, entry in zip(published, entries, strict=True):
        if split is not None:
            held.setdefault(entry.cells[0], set()).add(split)
    chosen = tuple(
        split or _beside(by_cells[entry.cells], entry, held) for split, entry in zip(published, entries, strict=True)
    )
    without = [split for split, told in zip(chosen, published, strict=True) if told is None]
    if not without:
        return Chosen(chosen, "published")
    rule = f"published; {len(without)} samples without one by {_CELLS}"
    if left := without.count(BUFFER_SPLIT):
        rule += f" ({left} of them in none: their ground has another published split)"
    return Chosen(chosen, rule)


def _beside(own: str, entry: Entry, held: Mapping[str, set[str]]) -> str:
    """Return the split of a sample without a published one: none where its ground is in another by publication."""
    near = set().union(*(held.get(cell, set()) for cell in entry.cells))
    return BUFFER_SPLIT if near - {own} else own


def _say_moved(published: Sequence[str | None], chosen: Sequence[str], why: str) -> None:
    """Warn where samples of a published val or test set are put where models learn from them."""
    moved = Counter(a for a, b in zip(published, chosen, strict=True) if a in ("val", "test") and b == "train")
    for split, count in sorted(moved.items()):
        logger.warning("%d samples of the published %s set are in train by %s", count, split, why)
