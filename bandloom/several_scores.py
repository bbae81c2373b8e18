"""Scores of several classes a chip from the chips themselves, and how far one model is ahead of another on them.

Average precision is no sum over blocks, so intervals draw blocks: a chip counts as often as its block is drawn.
"""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bandloom.errors import RunFolderError

DECISIONS = "decisions.npz"
HEADLINES = ("map_macro", "map_micro", "f1_macro", "f1_micro")
DRAWS, FEWEST_DRAWS = 1000, 200
MOST_WEIGHED = 4_000_000_000  # chips by classes by draws: beyond it, fewer draws
AT_ONCE = 8_000_000  # weights held in memory


@dataclass(frozen=True)
class Several:
    """Chips with several classes and what a model said of them.

    Args:
        truth: ``(N, K)`` of noughts and ones.
        score: ``(N, K)`` probabilities, or anything that grows with them.
        said: ``(N, K)`` bool, the classes that are said to be there.
        block_of: ``(N,)`` block numbers.
    """

    truth: np.ndarray
    score: np.ndarray
    said: np.ndarray
    block_of: np.ndarray
    _drawn: dict[tuple[int, int], dict[str, np.ndarray]] = field(default_factory=dict, init=False, repr=False)

    def part(self, rows: np.ndarray) -> "Several":
        """Return some of the chips."""
        return Several(self.truth[rows], self.score[rows], self.said[rows], self.block_of[rows])


def headline(several: Several) -> dict[str, float]:
    """Return the four averages; macro over the classes that occur, micro over all decisions."""
    values = _averages(several, np.ones((1, len(several.truth))))
    return {name: float(column[0]) for name, column in values.items()}


def class_scores(several: Several) -> dict[str, np.ndarray]:
    """Return average precision and F1 of each class ``(K,)``; NaN where none is true, of F1 nor said."""
    values = _by_class(several, np.ones((1, len(several.truth))))
    return {name: column[0] for name, column in values.items()}


def drawn_averages(several: Several, draws: int = DRAWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the four averages of every draw of blocks with replacement (Efron's bootstrap), ``(draws,)`` each.

    They are kept with the chips, since of many chips they take minutes. Blocks of the same numbers are drawn alike.
    """
    held = several._drawn
    if (draws, seed) not in held:
        parts = [_averages(several, weights) for weights in _weights(several, draws, seed)]
        held[draws, seed] = {name: np.concatenate([part[name] for part in parts]) for name in HEADLINES}
    return held[draws, seed]


def drawn_classes(several: Several, draws: int = DRAWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Return average precision and F1 of each class in every draw of the same blocks, ``(draws, K)`` each."""
    parts = [_by_class(several, weights) for weights in _weights(several, draws, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def intervals(several: Several, draws: int = DRAWS) -> dict[str, list[float]]:
    """Return 95 % intervals of the averages; none without draws or of a single block."""
    if not draws or len(np.unique(several.block_of)) < 2:
        return {}
    return {name: bounds(values) for name, values in drawn_averages(several, draws).items()}


def margins(own: Several, other: Several, draws: int = DRAWS) -> dict[str, list[float]]:
    """Return 95 % intervals of how far one model's averages are above another's, the same blocks drawn for both.

    Args:
        own: of the one.
        other: of the other, on the same chips in the same order; none are returned where they differ.
        draws: bootstrap repetitions.
    """
    alike = own.truth.shape == other.truth.shape and (own.truth == other.truth).all()
    if not draws or not alike or len(np.unique(own.block_of)) < 2:
        return {}
    ours, theirs = (drawn_averages(held, draws) for held in (own, other))
    return {name: bounds(ours[name] - theirs[name]) for name in HEADLINES}


def weighted_average_precision(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the average precision (scikit-learn's definition) under every row of weights; NaN where none is true.

    Args:
        truth: ``(N,)`` of noughts and ones.
        score: ``(N,)``.
        weights: ``(draws, N)``, how often each chip counts.
    """
    order = np.argsort(-score, kind="stable")
    ranked, weights = score[order], weights[:, order]
    last = np.append(ranked[1:] < ranked[:-1], True) if len(ranked) else np.zeros(0, bool)  # of those of equal score
    hits, said = (np.cumsum(counted, axis=1)[:, last] for counted in (weights * truth[order], weights))
    gained = np.diff(hits, axis=1, prepend=0)
    total = hits[:, -1] if hits.shape[1] else np.zeros(len(weights))
    precision = hits / np.maximum(said, 1e-300)
    return np.where(total > 0, (gained * precision).sum(axis=1) / np.where(total > 0, total, 1), np.nan)


def write_decisions(folder: Path, rows: Mapping[str, Several], split: str) -> None:
    """Write ``decisions.npz``: the chips' truth and blocks once, and of every row ``score N`` and ``said N``."""
    from bandloom.files.output import new_output

    first = next(iter(rows.values()))
    arrays = {
        "rows": np.array(list(rows)),
        "split": np.array(split),
        "truth": first.truth.astype(np.uint8),
        "block_of": first.block_of.astype(np.uint64),
    }
    for number, several in enumerate(rows.values()):
        arrays[f"score {number}"] = several.score.astype(np.float32)
        arrays[f"said {number}"] = several.said
    with new_output(folder / DECISIONS, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def read_decisions(folder: Path) -> dict[str, Several]:
    """Return what ``decisions.npz`` holds by row; nothing where there is no such file.

    Raises:
        RunFolderError: it is damaged.
    """
    path = folder / DECISIONS
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            truth, blocks = held["truth"], held["block_of"]
            return {
                name: Several(truth, held[f"score {number}"], held[f"said {number}"], blocks)
                for number, name in enumerate(held["rows"].tolist())
            }
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as cause:
        raise RunFolderError(f"{path} is damaged ({cause!r}); restore it, or run its stage again.") from cause


def draws_for(several: Several, draws: int = DRAWS) -> int:
    """Return how many draws are made: all that are asked for, fewer of very many chips."""
    return min(draws, max(FEWEST_DRAWS, MOST_WEIGHED // max(1, several.truth.size)))


def _weights(several: Several, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each chip counts in each draw of blocks, ``(some draws, N)``."""
    blocks, block_of = np.unique(several.block_of, return_inverse=True)
    rng, share = np.random.default_rng(seed), np.full(len(blocks), 1 / len(blocks))
    count = draws_for(several, draws)
    times = rng.multinomial(len(blocks), share, size=count).astype(float)
    step = max(1, AT_ONCE // max(1, several.truth.size))
    for first in range(0, count, step):
        yield times[first : first + step][:, block_of.ravel()]


def _averages(several: Several, weights: np.ndarray) -> dict[str, np.ndarray]:
    by_class = _by_class(several, weights)
    hits, said, true = _counts(several, weights)
    occurs, classes = true > 0, several.truth.shape[1]
    counted = np.maximum(occurs.sum(1), 1)
    every = weighted_average_precision(several.truth.ravel(), several.score.ravel(), weights.repeat(classes, axis=1))
    return {
        "map_macro": np.where(occurs, by_class["average_precision"], 0).sum(1) / counted,
        "map_micro": np.nan_to_num(every),
        "f1_macro": np.where(occurs, np.nan_to_num(by_class["f1"]), 0).sum(1) / counted,
        "f1_micro": 2 * hits.sum(1) / np.maximum(said.sum(1) + true.sum(1), 1),
    }


def _by_class(several: Several, weights: np.ndarray) -> dict[str, np.ndarray]:
    columns = zip(several.truth.T, several.score.T, strict=True)
    average = np.stack([weighted_average_precision(truth, score, weights) for truth, score in columns], 1)
    hits, said, true = _counts(several, weights)
    f1 = np.where(said + true > 0, 2 * hits / np.maximum(said + true, 1), np.nan)
    return {"average_precision": average, "f1": f1}


def _counts(several: Several, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = several.truth.astype(float)
    return weights @ (truth * several.said), weights @ several.said.astype(float), weights @ truth


def bounds(values: np.ndarray) -> list[float]:
    """Return between what values 95 % of all draws ``(draws,)`` lie."""
    return np.percentile(values, (2.5, 97.5)).tolist()
