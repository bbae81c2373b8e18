"""From one label set to another: a table of classes, each row saying whether something is lost on the way."""

import csv
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.classes.taxonomy import Taxonomy, get_taxonomy
from bandloom.errors import LabelError

HEADER = ["from", "to", "lossy"]


@dataclass(frozen=True)
class Mapping:
    """A table from the class indices of one label set to those of another.

    Args:
        source: where labels come from.
        target: where they go.
        index: ``(K_from,)`` target index of each class, 255 for those without.
        lossy: ``(K_from,)`` True where the target means something wider, narrower or overlapping.
    """

    source: Taxonomy
    target: Taxonomy
    index: np.ndarray
    lossy: np.ndarray

    def labels(self, label: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        """Translate class indices; what has no target becomes 255 and is counted by name."""
        table = np.full(256, IGNORE_INDEX, np.uint8)
        table[: len(self.index)] = self.index
        names = [land_class.name for land_class in self.source.classes]
        lost = {names[i]: int((label == i).sum()) for i in np.flatnonzero(self.index == IGNORE_INDEX)}
        return table[label], {name: count for name, count in lost.items() if count}

    def probabilities(self, probability: np.ndarray) -> np.ndarray:
        """Score on the coarser level: sum the members' probabilities ``(..., K_from)`` to ``(..., K_to)``.

        What falls on classes without a target is shared out in proportion, so that the sums stay 1.
        """
        summed = probability @ self.matrix().astype(probability.dtype)
        total = summed.sum(-1, keepdims=True)
        return np.divide(summed, total, out=np.full_like(summed, 1 / summed.shape[-1]), where=total > 0)

    def matrix(self) -> np.ndarray:
        """Return ``(K_from, K_to)`` float64, 1 where a class goes."""
        known = self.index != IGNORE_INDEX
        matrix = np.zeros((len(self.index), len(self.target.classes)))
        matrix[np.flatnonzero(known), self.index[known]] = 1
        return matrix


def get_mapping(source: str, target: str, path: Path | None = None) -> Mapping:
    """Return a shipped mapping, a chain of shipped ones, or a user's own CSV.

    Raises:
        LabelError: no mapping leads from one to the other, or the CSV names an unknown class.
    """
    if path is not None:
        return read_mapping(path.read_text, str(path), get_taxonomy(source), get_taxonomy(target))
    chain = _chain(source, target)
    if chain is None:
        known = ", ".join(f"{a} to {b}" for a, b in shipped_mappings())
        raise LabelError(
            f"no mapping leads from {source!r} to {target!r} (there are: {known}); `bandloom labels map` takes your own"
            " with --mapping FILE.csv, with the columns from, to and lossy."
        )
    steps = [_shipped(a, b) for a, b in itertools.pairwise(chain)]
    whole = steps[0]
    for step in steps[1:]:
        whole = compose(whole, step)
    return whole


def compose(first: Mapping, second: Mapping) -> Mapping:
    """Return the mapping that does one after the other."""
    table = np.append(second.index, np.full(256 - len(second.index), IGNORE_INDEX)).astype(np.uint8)
    lossy = np.append(second.lossy, np.zeros(256 - len(second.lossy), bool))
    return Mapping(first.source, second.target, table[first.index], first.lossy | lossy[first.index])


def read_mapping(read: Callable[[], str], name: str, source: Taxonomy, target: Taxonomy) -> Mapping:
    """Parse a mapping's CSV.

    Raises:
        LabelError: the header is another, a class is unknown, or one class is sent to two.
    """
    try:
        rows = list(csv.reader(read().removeprefix("\ufeff").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise LabelError(f"the mapping {name} cannot be read ({cause}); it must be a CSV in UTF-8.") from cause
    if not rows or rows[0] != HEADER:
        raise LabelError(
            f"the mapping {name} begins with {rows[0] if rows else 'nothing'}; expected {','.join(HEADER)}."
        )
    index = np.full(len(source.classes), IGNORE_INDEX, np.uint8)
    lossy = np.zeros(len(source.classes), bool)
    for line, row in enumerate(rows[1:], 2):
        if len(row) != 3 or row[2] not in ("yes", "no"):
            raise LabelError(f"line {line} of the mapping {name} is {','.join(row)!r}; expected from,to,yes or no.")
        place = source.find(row[0])
        if index[place] != IGNORE_INDEX:
            raise LabelError(f"the mapping {name} sends {row[0]!r} to two classes (line {line}); keep one of them.")
        index[place], lossy[place] = target.find(row[1]), row[2] == "yes"
    return Mapping(source, target, index, lossy)


def shipped_mappings() -> list[tuple[str, str]]:
    """Return the pairs of label sets that a shipped table connects directly."""
    names = (path.name for path in (files("bandloom.classes") / "label_mappings").iterdir())
    parts = (name.removesuffix(".csv").partition("--") for name in names if name.endswith(".csv"))
    return sorted((source, target) for source, _, target in parts)


def _shipped(source: str, target: str) -> Mapping:
    file = files("bandloom.classes") / "label_mappings" / f"{source}--{target}.csv"
    return read_mapping(file.read_text, file.name, get_taxonomy(source), get_taxonomy(target))


def _chain(source: str, target: str) -> Sequence[str] | None:
    """Return the shortest chain of label sets from one to the other."""
    paths: list[list[str]] = [[source]]
    seen = {source}
    while paths:
        path = paths.pop(0)
        if path[-1] == target and len(path) > 1:
            return path
        following = [b for a, b in shipped_mappings() if a == path[-1] and b not in seen]
        seen |= set(following)
        paths += [[*path, step] for step in following]
    return None
