"""Embeddings of a scene without torch: the encoder's features of every token of ground, as a GeoTIFF."""

import json
from collections.abc import Callable, Iterator
from math import lcm
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from rasterio.transform import Affine
from rasterio.windows import Window

from bandloom.command_line.console import track
from bandloom.embeddings.raster import basis_like, pack
from bandloom.errors import BundleError, ConfigError, SceneError
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.bundle.record import FeatureFile
from bandloom.export.bundle.tiling import CELL_PX, MAP_PIXEL_M, Tiling, round_up_to_cells
from bandloom.export.predict.claim import claimed
from bandloom.export.predict.options import PredictOptions
from bandloom.export.predict.origin import TAG, origin_of
from bandloom.export.predict.scene_mapper import check_sensor
from bandloom.export.predict.strips import Strip, StripReader
from bandloom.export.runtimes.onnx_runner import OnnxRunner
from bandloom.export.runtimes.replay import replay_features
from bandloom.files.output import new_output
from bandloom.files.written_raster import disk_errors, written_raster

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene


def load_features(bundle: Bundle, threads: int = 0) -> tuple[OnnxRunner, FeatureFile]:
    """Return the encoder of a bundle, after it has reproduced torch's features of the golden chips.

    Raises:
        BundleError: the bundle was exported without it, or it answers wrongly.
    """
    record = bundle.record.features
    if record is None:
        raise BundleError(
            f"the bundle {bundle.path} holds no encoder for embeddings; export it with: bandloom export RUN"
            " --embeddings --out BUNDLE."
        )
    runner = OnnxRunner(bundle.path / record.file, threads=threads)
    replay_features(bundle, runner, record)
    return runner, record


def write_embeddings(
    bundle: Bundle, open_scene: "Callable[[], Scene]", out: Path, options: PredictOptions
) -> tuple[int, int, int]:
    """Write the features of a scene, one pixel a token, one float32 band a dimension, NaN where nothing was measured.

    Tiles overlap by the bundle's margin, which is thrown away; nothing is blended. Memory does not grow with the
    scene's height.

    Returns:
        bands, rows and columns of what was written.

    Raises:
        BundleError: the bundle has no encoder of its own.
        SceneError: the scene is of another sensor, or cannot be read.
        OutputError: the output exists or cannot be written.
    """
    runner, record = load_features(bundle, options.threads)
    token_px = bundle.contract.token_m // MAP_PIXEL_M
    tiling = _token_tiling(bundle, token_px)
    with claimed(out), open_scene() as scene, new_output(out) as temporary, disk_errors(out):
        check_sensor(scene.sensor, bundle.contract.get_sensor(), str(scene.name))
        origin = origin_of(bundle, scene, options, features=True)
        size = round_up_to_cells(scene.height_m), round_up_to_cells(scene.width_m)
        rows, columns = (-(-side // token_px) for side in size)
        starts = [np.arange(0, side, tiling.core_px).tolist() for side in size]
        corner = scene.transform
        profile = {
            "driver": "GTiff",
            "dtype": "float32",
            "count": record.embed_dim,
            "height": rows,
            "width": columns,
            "crs": scene.crs,
            "nodata": np.nan,
            "interleave": "band",
            "compress": "deflate",
            "predictor": 3,
            "transform": Affine(bundle.contract.token_m, 0, corner.c, 0, -bundle.contract.token_m, corner.f),
            "blockysize": tiling.core_px // token_px,
            "bigtiff": "IF_SAFER",
        }
        with (
            written_raster(temporary, out, **profile) as written,
            StripReader(open_scene, size, tiling, [[row] for row in starts[0]], readers=options.readers) as reader,
        ):
            written.file.update_tags(
                BUNDLE=bundle.record.name,
                CONTRACT=bundle.contract.digest(),
                ENCODER_SHA256=bundle.record.files[record.file],
                RUNTIME=runner.name,
                SCENE=str(scene.name),
                SENSOR=scene.sensor.name,
                **{TAG: json.dumps(origin.record())},
            )
            for strip in track(reader, f"embedding {scene.name}", len(starts[0])):
                made = _strip(strip, starts[1], tiling, runner, options.tiles_a_call(tiling.tile_px))
                made[:, ~_measured(strip, tiling, size[0], token_px, made.shape)] = np.nan
                top = strip.row_starts[0] // token_px
                kept = made[:, : min(made.shape[1], rows - top), :columns]
                written.write(kept, Window(0, top, columns, kept.shape[1]))  # type: ignore[call-arg]
    return record.embed_dim, rows, columns


def write_packed(
    bundle: Bundle, open_scene: "Callable[[], Scene]", out: Path, options: PredictOptions
) -> tuple[int, int, int, str]:
    """Write the features of a scene as they are, or with fewer dimensions and a byte a dimension where that is asked.

    Returns:
        dimensions, rows and columns of what was written, and in words how it was packed.

    Raises:
        BandloomError: as :func:`write_embeddings` and :func:`bandloom.embeddings.raster.pack` say.
    """
    if not options.packing:
        return *write_embeddings(bundle, open_scene, out, options), ""
    with claimed(out), TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as place:
        features = Path(place) / "features.tif"
        _, rows, columns = write_embeddings(bundle, open_scene, features, options)
        basis = pack(features, out, options.embeddings_dims, options.embeddings_dtype, options.embeddings_like)
    return basis.dims, rows, columns, f" of {basis.dtype} that hold {basis.explained:.1%} of the variance"


def check_packing(options: PredictOptions, embed_dim: int | None, encoder: str = "") -> None:
    """Check, before any work, what can be checked of how embeddings are made smaller.

    Args:
        options: of the prediction.
        embed_dim: dimensions of the bundle's encoder; None: no embeddings are asked for.
        encoder: sha256 of that encoder's file.

    Raises:
        ConfigError: there are none to pack, or not as many dimensions.
        SceneError: the earlier ones are not there, or are of another encoder, other dimensions or another type.
    """
    if not options.packing:
        return
    if embed_dim is None:
        names = ", ".join(f"--embeddings-{name}" for name in options.packing)
        raise ConfigError(f"{names} says how embeddings are stored; pass --embeddings too, or leave it out.")
    if options.embeddings_dims is not None and options.embeddings_dims > embed_dim:
        raise ConfigError(
            f"--embeddings-dims {options.embeddings_dims} is refused; the encoder gives 1 to {embed_dim}."
        )
    if options.embeddings_like is not None:
        if not options.embeddings_like.is_file():
            raise SceneError(f"--embeddings-like {options.embeddings_like} does not exist; name packed embeddings.")
        earlier, told = options.embeddings_like, f"ENCODER_SHA256:{encoder}" if encoder else ""
        basis_like(earlier, embed_dim, options.embeddings_dims, options.embeddings_dtype, told)


def _token_tiling(bundle: Bundle, token_px: int) -> Tiling:
    """Return the bundle's tile with its margin rounded up to whole tokens on the 60 m grid, and no taper."""
    contract = bundle.contract
    unit = lcm(token_px, CELL_PX)
    margin = -(-contract.margin_px // unit) * unit
    return Tiling(contract.tile_px, margin if contract.tile_px > 2 * margin else 0)


def _strip(strip: Strip, columns: list[int], tiling: Tiling, runner: OnnxRunner, batch: int) -> np.ndarray:
    """Return the features of one row of tiles, ``(D, h, W)``."""
    margin, left = tiling.margin_px, -tiling.margin_px
    pixels = strip.tile_row(strip.row_starts[0], (left, columns[-1] + tiling.core_px + margin), tiling, mirrored=True)
    parts = []
    for lefts in _batches(columns, batch):
        tiles = {
            g: np.stack(
                [dn[..., column * MAP_PIXEL_M // g : (column + tiling.tile_px) * MAP_PIXEL_M // g] for column in lefts]
            )
            for g, dn in pixels.items()
        }
        parts.extend(runner.run(tiles))
    cut = margin * parts[0].shape[1] // tiling.tile_px  # tokens
    return np.concatenate([part[:, cut : part.shape[1] - cut, cut : part.shape[2] - cut] for part in parts], axis=2)


def _batches(columns: list[int], batch: int) -> Iterator[list[int]]:
    for begin in range(0, len(columns), batch):
        yield columns[begin : begin + batch]


def _measured(strip: Strip, tiling: Tiling, height_px: int, token_px: int, shape: tuple[int, ...]) -> np.ndarray:
    """Tell which tokens of a strip hold a sample of the finest grid, ``(h, W)`` bool."""
    top = strip.row_starts[0]
    there = strip.measured((top, min(top + tiling.core_px, height_px)))
    full = np.zeros((shape[1] * token_px, shape[2] * token_px), bool)
    full[: there.shape[0], : there.shape[1]] = there
    return np.any(full.reshape(shape[1], token_px, shape[2], token_px), axis=(1, 3))
