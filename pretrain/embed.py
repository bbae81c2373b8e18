"""Embeddings of a scene as a GeoTIFF, or of every sample of a shard set as a Parquet table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.console import track
from bandloom.errors import MissingExtraError
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.checkpoint import load_encoder
from bandloom.output import new_output
from bandloom.sensors import Sensor

CHIP_TOKENS = 20  # tokens a side of the chips that a scene is read in, at most


def embed(checkpoint: Path, source: Path, out: Path, *, batch_size: int = 8) -> Path:
    """Embed a scene (GeoTIFF, one pixel a token, one band a dimension) or a shard set (Parquet, one row a sample).

    Args:
        checkpoint: an encoder's folder.
        source: a scene, or a folder of shards.
        out: the new file; it must not exist.
        batch_size: chips or samples a forward pass.

    Raises:
        BandloomError: the checkpoint or the source cannot be read, or the output exists.
    """
    encoder = load_encoder(checkpoint).eval().to(_device())
    if (source / "manifest.json").is_file():
        return _embed_shards(encoder, source, out, batch_size)
    return _embed_scene(encoder, source, out, batch_size)


def _embed_scene(encoder: AnyEncoder, source: Path, out: Path, batch_size: int) -> Path:
    import rasterio
    from rasterio.transform import Affine

    from bandloom.shards.scenes import open_scene

    token_m, side = encoder.config.token_m, chip_tokens(encoder)
    with open_scene(source) as scene, new_output(out) as temporary:
        columns, rows = -(-int(scene.width_m) // token_m), -(-int(scene.height_m) // token_m)
        corner = scene.transform
        profile = {
            "driver": "GTiff",
            "dtype": "float32",
            "count": encoder.embed_dim,
            "width": columns,
            "height": rows,
            "crs": scene.crs,
            "transform": Affine(token_m, 0, corner.c, 0, -token_m, corner.f),
            "nodata": np.nan,
            "tiled": True,
            "blockxsize": 64,
            "blockysize": 64,
            "compress": "deflate",
            "BIGTIFF": "IF_SAFER",
            "interleave": "band",
        }
        windows = list(_windows(rows, columns, side))
        with rasterio.open(temporary, "w", **profile) as target:
            for first in track(range(0, len(windows), batch_size), "embedding", len(windows) // batch_size + 1):
                some = windows[first : first + batch_size]
                side_m = side * token_m
                chips = [scene.read((x * token_m, y * token_m, side_m, side_m)) for y, x in some]
                for (y, x), features in zip(some, _features(encoder, chips, scene.sensor), strict=True):
                    height, width = min(side, rows - y), min(side, columns - x)
                    window = rasterio.windows.Window(x, y, width, height)  # type: ignore[call-arg]
                    target.write(features[:, :height, :width], window=window)
    return out


def _embed_shards(encoder: AnyEncoder, source: Path, out: Path, batch_size: int) -> Path:
    try:
        import pyarrow as pa  # type: ignore[import-not-found]
        import pyarrow.parquet as pq  # type: ignore[import-not-found]
    except ModuleNotFoundError as cause:
        raise MissingExtraError("pyarrow", "parquet") from cause
    from bandloom.shards.read.shard_set import ShardSet

    shards = ShardSet(source)
    rows: list[dict[str, Any]] = []
    for index in track(range(len(shards)), "embedding", len(shards)):
        sample = shards.read(index)
        entry = shards.entries[index]
        [features] = _features(encoder, [sample.groups], shards.sensors[entry.sensor])
        rows.append(
            {
                "key": entry.key,
                "sensor": entry.sensor,
                "epsg": entry.epsg,
                "x_m": entry.x_m,
                "y_m": entry.y_m,
                "embedding": np.nanmean(features, (1, 2)).astype(np.float32).tolist(),
            }
        )
    with new_output(out) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    return out


@torch.no_grad()
def _features(encoder: AnyEncoder, chips: list[dict[int, np.ndarray]], sensor: Sensor) -> Iterator[np.ndarray]:
    """Yield each chip's features ``(D, rows, columns)``; tokens without any measured sample are NaN."""
    device = encoder.norm.weight.device
    groups = {gsd: torch.from_numpy(np.stack([chip[gsd] for chip in chips])).to(device) for gsd in chips[0]}
    rows, columns = encoder.grid(groups)
    features = encoder.forward_features(groups, sensor).float()  # (B, T, D)
    _, valid = encoder.samples(groups, sensor)
    features[~valid.any(-1)] = torch.nan
    yield from features.transpose(1, 2).unflatten(2, (rows, columns)).cpu().numpy()


def chip_tokens(encoder: AnyEncoder) -> int:
    """Return the tokens a side of a chip: what the encoder was pretrained on, at most, on the grid of all groups."""
    token_m, step_m = encoder.config.token_m, encoder.chip_step_m
    most_m = min(CHIP_TOKENS * token_m, encoder.longest_chip_m or CHIP_TOKENS * token_m)
    return max(1, most_m // step_m) * step_m // token_m


def _windows(rows: int, columns: int, side: int) -> Iterator[tuple[int, int]]:
    """Yield the upper-left token of each chip of ``side`` tokens."""
    for y in range(0, rows, side):
        for x in range(0, columns, side):
            yield y, x


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
