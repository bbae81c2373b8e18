"""What looks like a place, and what looks alike: cosine similarity and k-means over embeddings; needs no torch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform
from rasterio.windows import Window

from bandloom.class_colours import with_colours
from bandloom.embeddings.raster import EmbeddingRaster, write_cog
from bandloom.errors import ConfigError, SceneError
from bandloom.output import one_writer

NOTHING = 255
MOST_CLUSTERS = 250
MOST_FITTED = 1 << 16  # tokens that the clusters are fitted on, spread evenly over the ground


def map_similarity(embeddings: Path, out: Path, place: tuple[float, float], crs: str) -> float:
    """Write the cosine of every token's features with those at a place, float32, NaN where nothing was measured.

    Args:
        embeddings: a GeoTIFF of embeddings.
        out: the new GeoTIFF.
        place: x and y.
        crs: of the place.

    Returns:
        The share of measured tokens with a cosine of 0.9 or more.

    Raises:
        SceneError: the place lies outside, or nothing was measured there.
        OutputError: ``out`` exists, or cannot be written.
    """
    opened = EmbeddingRaster(embeddings)
    query = features_at(opened, place, crs)
    alike, measured = 0, 0

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        nonlocal alike, measured
        for top, features in opened.strips():
            cosine = cosines(features, query)
            alike, measured = alike + int((cosine >= 0.9).sum()), measured + int(np.isfinite(cosine).sum())
            yield top, cosine[None]

    tags = {"SIMILAR_TO": json.dumps({"at": list(place), "crs": crs}), "EMBEDDINGS": embeddings.name}
    write_cog(out, opened, (1, "float32", float("nan")), blocks(), tags)
    return alike / max(measured, 1)


def features_at(opened: EmbeddingRaster, place: tuple[float, float], crs: str) -> np.ndarray:
    """Return the features ``(D,)`` of the token that holds a place.

    Raises:
        SceneError: the coordinate system is not known, the place lies outside, or nothing was measured there.
    """
    said = f"--at {place[0]:g},{place[1]:g} (--crs {crs})"
    try:
        source = CRS.from_user_input(crs)
    except CRSError as cause:
        raise SceneError(f"--crs {crs!r} is not known ({cause}); write one such as EPSG:4326.") from cause
    try:
        x, y = (values[0] for values in transform(source, opened.crs, [place[0]], [place[1]])[:2])
    except Exception:  # GDAL's own errors have no public class: beyond what the map's projection can show
        x = y = float("nan")
    column, row = ~opened.transform * (x, y)
    height, width = opened.shape
    if not (0 <= column < width and 0 <= row < height):
        raise SceneError(f"{said} lies outside of {opened.path}; name a place of its ground as x,y: longitude first.")
    features = opened.read(Window(int(column), int(row), 1, 1))[:, 0, 0]  # type: ignore[call-arg]
    if not np.isfinite(features).all():
        raise SceneError(f"nothing was measured at {said} in {opened.path}; name another place.")
    return features


def cosines(features: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the cosine of features ``(D, h, w)`` with a vector ``(D,)``, ``(h, w)`` float32."""
    products = np.einsum("dhw,d->hw", features, query, dtype=np.float64)
    lengths = np.sqrt(np.einsum("dhw,dhw->hw", features, features, dtype=np.float64)) * np.linalg.norm(query)
    return (products / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)


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
