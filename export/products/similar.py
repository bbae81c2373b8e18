"""Parts ground into classes that look alike: k-means over embeddings; needs no torch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.classes.class_colours import with_colours
from bandloom.embeddings.raster import EmbeddingRaster, write_cog
from bandloom.errors import ConfigError
from bandloom.files.output import one_writer

NOTHING = 255
MOST_CLUSTERS = 250
MOST_FITTED = 1 << 16  # tokens that the clusters are fitted on, spread evenly over the ground


@one_writer
def map_clusters(embeddings: Path, out: Path, clusters: int, seed: int) -> list[int]:
    """Write a map of ``clusters`` classes that k-means finds among the tokens, the largest first.

    Args:
        embeddings: a GeoTIFF of embeddings.
        out: the new map, read by ``view``, ``zones``, ``polygons`` and ``assess`` as any other.
        clusters: how many.
        seed: of the first centres.

    Returns:
        Tokens of each cluster.

    Raises:
        ConfigError: more clusters than a map can hold, or than there are measured tokens.
        OutputError: ``out`` exists, or cannot be written.
    """
    from sklearn.cluster import MiniBatchKMeans

    opened = EmbeddingRaster(embeddings)
    points = _spread(opened)
    if not 2 <= clusters <= min(MOST_CLUSTERS, len(points)):
        most = min(MOST_CLUSTERS, len(points))
        raise ConfigError(f"--clusters {clusters} is refused; {embeddings} can be parted into 2 to {most}.")
    kmeans: Any = MiniBatchKMeans(clusters, random_state=seed, n_init=3, batch_size=4096)  # pyright: ignore[reportArgumentType]
    fitted = kmeans.fit(points)
    order = np.argsort(-np.bincount(fitted.labels_, minlength=clusters), kind="stable")
    codes = np.empty(clusters, np.uint8)
    codes[order] = np.arange(1, clusters + 1)
    counts = np.zeros(clusters, np.int64)

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for top, features in opened.strips():
            flat = features.reshape(len(features), -1).T
            known = np.isfinite(flat).all(axis=1)
            shown = np.full(len(flat), NOTHING, np.uint8)
            if known.any():
                shown[known] = codes[fitted.predict(np.ascontiguousarray(flat[known]))]
            counts[:] += np.bincount(shown[known], minlength=clusters + 1)[1:]
            yield top, shown.reshape(1, *features.shape[1:])

    names = [f"cluster {number}" for number in range(1, clusters + 1)]
    hues = with_colours(names, [""] * clusters)
    listed = [
        {"value": n, "name": name, "colour": hue} for n, (name, hue) in enumerate(zip(names, hues, strict=True), 1)
    ]
    colours = {n: (*bytes.fromhex(hue[1:]), 255) for n, hue in enumerate(hues, 1)} | {NOTHING: (0, 0, 0, 0)}
    tags = {"CLASSES": json.dumps(listed), "EMBEDDINGS": embeddings.name, "SEED": str(seed)}
    write_cog(out, opened, (1, "uint8", NOTHING), blocks(), tags, colours=colours)  # type: ignore[arg-type]
    return counts.tolist()


def _spread(opened: EmbeddingRaster) -> np.ndarray:
    """Return every n-th measured token's features, ``(N, D)``."""
    height, width = opened.shape
    step = max(1, int(np.ceil(np.sqrt(height * width / MOST_FITTED))))
    taken = []
    for top, features in opened.strips():
        flat = features[:, -top % step :: step, ::step].reshape(len(features), -1).T
        taken.append(flat[np.isfinite(flat).all(axis=1)])
    return np.concatenate(taken)
