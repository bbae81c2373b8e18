"""Similarity maps: the cosine of each token of a scene with a query in words, as a GeoTIFF and pictures.

Training brought the mean of a chip's tokens near its caption; a single token was never asked. The map is a way of
looking (as MaskCLIP's, arXiv 2112.01071), not a classifier: compare places within one band, not bands with each other.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rasterio.transform import from_origin
from torch import Tensor
from torch.nn import functional

from bandloom.command_line.console import logger, track
from bandloom.errors import TextError
from bandloom.files.output import new_output, one_writer, require_absent
from bandloom.files.written_raster import written_raster
from bandloom.finetune.data.splits import PIXEL_M
from bandloom.finetune.text.aligned_model import Aligned
from bandloom.finetune.text.model import unit
from bandloom.rasters.png import png
from bandloom.shards.scenes import Scene, open_scene

LONGEST_WORDS = 60  # characters of a query in a file's name
STRETCH = (2, 98)  # percentiles of the scene's own cosines that the colours span
# six stops of matplotlib's viridis (CC0), dark to bright
_VIRIDIS = np.array([(68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37)])


@one_writer
def map_words(aligned: Aligned, source: Path, queries: Sequence[str], out: Path) -> list[Path]:
    """Write ``OUT`` (one float32 band of cosines a query, NaN where nothing was measured) and a PNG a query beside it.

    Args:
        aligned: the model.
        source: a scene of its sensor.
        queries: words.
        out: the new GeoTIFF.

    Returns:
        The files written, the GeoTIFF first.

    Raises:
        TextError: there is no query, the scene is of another sensor, or its ground is smaller than one token.
        OutputError: one of the files exists.
    """
    if not queries:
        raise TextError("no words are given; add --query WORDS, as often as you like.")
    pictures = picture_paths(out, queries)
    require_absent(pictures)
    words = torch.from_numpy(aligned.text(list(queries)))
    with open_scene(source) as scene:
        if scene.sensor.name != aligned.model.sensor.name:
            raise TextError(
                f"{source} is of {scene.sensor.name}, the model of {aligned.model.sensor.name}; pass a scene of that"
                " sensor."
            )
        planes = similarities(aligned, scene, words)
        token_m = aligned.model.encoder.config.token_m
        grid = from_origin(scene.transform.c, scene.transform.f, token_m, token_m)
        profile = {
            "driver": "GTiff",
            "height": planes.shape[1],
            "width": planes.shape[2],
            "count": len(planes),
            "dtype": "float32",
            "nodata": float("nan"),
            "crs": scene.crs,
            "transform": grid,
            "compress": "deflate",
        }
        with new_output(out) as temporary, written_raster(temporary, out, **profile) as written:
            written.write(planes)
            written.file.update_tags(MODEL=aligned.digest, SOURCE=scene.name)
            for band, query in enumerate(queries, 1):
                written.file.set_band_description(band, query)
    written = [out]
    for path, plane in zip(pictures, planes, strict=True):
        with new_output(path) as temporary:
            temporary.write_bytes(png(coloured(plane)))
        written.append(path)
    logger.info("cosines with %s are in %s", ", ".join(queries), ", ".join(map(str, written)))
    return written


def picture_paths(out: Path, queries: Sequence[str]) -> list[Path]:
    """Return where each query's picture goes: its words in the name, a number where two would have one name."""
    paths: list[Path] = []
    for number, query in enumerate(queries, 1):
        words = re.sub(r"[\W_]+", "-", query).strip("-")[:LONGEST_WORDS]
        path = out.with_name(f"{out.stem}-{words}.png")
        paths.append(out.with_name(f"{out.stem}-{words}-{number}.png") if path in paths or not words else path)
    return paths


@torch.no_grad()
def similarities(aligned: Aligned, scene: Scene, words: Tensor) -> np.ndarray:
    """Return cosines of every token of a scene with unit vectors of words ``(Q, D)``, ``(Q, h, w)`` float32.

    The scene goes through the encoder in squares of the size that it was aligned on; NaN where a token saw nothing.
    """
    encoder, chip_m = aligned.model.encoder, aligned.model.chip_px * PIXEL_M
    token_m, device = encoder.config.token_m, aligned.model.log_scale.device
    rows, columns = int(scene.height_m) // token_m, int(scene.width_m) // token_m
    if not rows or not columns:
        raise TextError(
            f"{scene.name} is {scene.width_m:.0f} x {scene.height_m:.0f} m, less than a token of {token_m} m."
        )
    planes = np.full((len(words), rows, columns), np.nan, np.float32)
    side = chip_m // token_m
    corners = [(row, column) for row in range(0, rows, side) for column in range(0, columns, side)]
    for row, column in track(corners, "tokens and words"):
        groups = scene.read((column * token_m, row * token_m, chip_m, chip_m))
        chip = {gsd: torch.from_numpy(group[None]).to(device) for gsd, group in groups.items()}
        tokens = unit(aligned.model.tokens(chip))[0].cpu()  # (T, D)
        cosine = (words @ tokens.T).unflatten(1, encoder.grid(chip)).numpy()
        cosine[:, ~measured_tokens(groups, token_m)] = np.nan
        part = planes[:, row : row + side, column : column + side]
        part[:] = cosine[:, : part.shape[1], : part.shape[2]]
    return planes


def measured_tokens(groups: dict[int, np.ndarray], token_m: int) -> np.ndarray:
    """Return whether any sample of each token was measured, ``(h, w)``."""
    seen: list[np.ndarray] = []
    for gsd_m, group in groups.items():
        bands = torch.from_numpy(((group > 0) & (group < 65535)).astype(np.float32))
        real = functional.interpolate(bands.amax(0)[None, None], scale_factor=gsd_m // PIXEL_M, mode="nearest")
        seen.append(functional.max_pool2d(real, token_m // PIXEL_M)[0, 0].numpy() > 0)
    return np.asarray(np.stack(seen).any(0))


def coloured(plane: np.ndarray) -> np.ndarray:
    """Return one band in colours, dark to bright, transparent where it is NaN, ``(H, W, 4)`` uint8."""
    known = np.isfinite(plane)
    low, high = np.percentile(plane[known], STRETCH) if known.any() else (0.0, 1.0)
    place = np.clip((np.where(known, plane, low) - low) / max(high - low, 1e-9), 0, 1)
    stops = np.linspace(0, 1, len(_VIRIDIS))
    channels = [np.interp(place, stops, _VIRIDIS[:, channel]) for channel in range(3)]
    return np.stack([*channels, 255.0 * known], -1).round().astype(np.uint8)
