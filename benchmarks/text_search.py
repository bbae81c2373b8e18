"""Search over 100,000 embeddings of 384 numbers on one core: the exact product against faiss's flat index."""

import importlib.util
import time

import numpy as np
from threadpoolctl import threadpool_limits

from bandloom.finetune.text.search.nearest import Searcher
from benchmarks.harness import Figure

ROWS, WIDTH, TOP, QUERIES, LIMIT_MS = 100_000, 384, 20, 40, 50.0


def run() -> list[Figure]:
    """Time queries one after the other, the two ways in turn, and take the median of each."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((ROWS, WIDTH), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[:QUERIES] + 0.1 * rng.standard_normal((QUERIES, WIDTH), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    plain = Searcher(vectors, "numpy")
    has_faiss = importlib.util.find_spec("faiss") is not None
    if has_faiss:
        import faiss  # type: ignore[import-not-found]

        faiss.omp_set_num_threads(1)
    flat = Searcher(vectors, "faiss") if has_faiss else plain
    times: dict[str, list[float]] = {"plain": [], "flat": []}
    for query in queries:
        answers = []
        for name, searcher in (("plain", plain), ("flat", flat)):
            with threadpool_limits(1):
                began = time.perf_counter()
                rows, _ = searcher.nearest(query, TOP)
            times[name].append(1000 * (time.perf_counter() - began))
            answers.append(rows)
        if set(answers[0].tolist()) != set(answers[1].tolist()):
            raise RuntimeError("the two ways found different rows")
    value, rival = (float(np.median(times[name])) for name in ("plain", "flat"))
    note = f"{ROWS:,} x {WIDTH} float32, top {TOP}, one thread, median of {QUERIES} queries, same rows found"
    figures = [Figure("text_search query, exact product", value, "ms", "limit", LIMIT_MS, "<= 1", note)]
    if has_faiss:
        figures.append(Figure("text_search query against faiss", value, "ms", "faiss IndexFlatIP", rival, "", note))
    return figures
