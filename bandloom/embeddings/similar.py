"""Similarity maps: the cosine of every token's features with those at one place; needs no torch."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.windows import Window

from bandloom.embeddings.raster import EmbeddingRaster, write_cog
from bandloom.errors import SceneError
from bandloom.rasters.projected import projected


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
    said = f"--at {place[0]:.10g},{place[1]:.10g} (--crs {crs})"
    try:
        source = CRS.from_user_input(crs)
    except CRSError as cause:
        raise SceneError(f"--crs {crs!r} is not known ({cause}); write one such as EPSG:4326.") from cause
    (x,), (y,) = projected(source, opened.crs, [place[0]], [place[1]])
    column, row = ~opened.transform * (x, y) if np.isfinite([x, y]).all() else (-1, -1)
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
