"""Exact nearest neighbours of vectors: one matrix product, or faiss where it is installed and the table is large."""

import csv
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.files.output import new_output
from bandloom.finetune.text.search.index import COLUMNS, EmbeddingIndex
from bandloom.finetune.text.search.method import Method

LARGE = 1_000_000  # below it a plain product is as fast and needs nothing


class Searcher:
    """Answers queries about one table of unit vectors.

    Args:
        vectors: ``(N, D)`` float32.
        method: ``numpy``, ``faiss`` (exact too), or ``auto``.
    """

    def __init__(self, vectors: np.ndarray, method: Method = "auto") -> None:
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        wanted = find_spec("faiss") is not None and len(vectors) >= LARGE if method == "auto" else method == "faiss"
        self._flat: Any = _flat_index(self.vectors) if wanted else None

    def nearest(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and cosines of the nearest vectors, nearest first, ``(top,)`` each; ties by row.

        Args:
            query: a unit vector, ``(D,)``.
            top: how many; fewer when the table is smaller.
        """
        top = min(top, len(self.vectors))
        rows, scores = self._candidates(np.asarray(query, np.float32), top)
        chosen = np.lexsort((rows, -scores))[:top]
        return rows[chosen], scores[chosen]

    def _candidates(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and cosines of the ``top`` nearest, and of all that are as near as the last of them."""
        if self._flat is not None:
            scores, rows = self._flat.search(query[None], top)
            _, level, tied = self._flat.range_search(query[None], float(np.nextafter(scores[0, -1], -2)))
            return (tied, level) if len(tied) >= top else (rows[0], scores[0])
        scores = self.vectors @ query
        last = np.partition(scores, len(scores) - top)[len(scores) - top]
        rows = np.flatnonzero(scores >= last)
        return rows, scores[rows]


def write_found(path: Path, index: EmbeddingIndex, rows: Sequence[int], scores: Sequence[float]) -> None:
    """Write what was found as CSV: rank, score, and where each chip is."""
    with new_output(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        names = [name for name in COLUMNS if name in index.places]
        writer.writerow(["rank", "score", *names])
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), 1):
            place = index.place(int(row))
            writer.writerow([rank, f"{score:.6f}", *(place[name] for name in names)])


def _flat_index(vectors: np.ndarray) -> Any:
    from bandloom.errors import MissingExtraError

    try:
        import faiss  # type: ignore[import-not-found]
    except ModuleNotFoundError as cause:
        raise MissingExtraError("faiss", "faiss") from cause
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    return flat
