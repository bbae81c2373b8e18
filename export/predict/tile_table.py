"""Tables of classified tiles: GeoJSON for a map program, or CSV."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.env import set_gdal_config

from bandloom.command_line.console import track
from bandloom.errors import BundleError, OutputError
from bandloom.export.bundle.answers import probabilities, thresholds, values
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.bundle.record import Contract
from bandloom.export.bundle.tiling import MAP_PIXEL_M, Tiling, round_up_to_cells
from bandloom.export.predict.claim import claimed
from bandloom.export.predict.options import PredictOptions
from bandloom.export.predict.origin import MEMBER, origin_of
from bandloom.export.predict.scene_mapper import check_sensor
from bandloom.export.predict.strips import SceneGroups, Strip, StripReader
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.files.output import new_output
from bandloom.rasters.projected import projected

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

TABLE_SUFFIXES = (".json", ".geojson", ".csv")


@dataclass(frozen=True)
class TileAnswer:
    """One tile: where it lies in map pixels from the upper-left corner, and the probability of every class."""

    row_px: int
    column_px: int
    measured: float  # share of its pixels that hold a sample
    shares: np.ndarray  # (K,) float32


def classify_tiles(
    contract: Contract, runner: Runner, open_scene: Callable[[], "Scene"], options: PredictOptions
) -> Iterator[TileAnswer]:
    """Yield an answer for every tile with data, row by row; beyond the scene's edge a tile is padded, not mirrored."""
    tiling = Tiling(contract.tile_px)
    with open_scene() as scene:
        check_sensor(scene.sensor, contract.get_sensor(), str(scene.name))
        size = round_up_to_cells(scene.height_m), round_up_to_cells(scene.width_m)
    starts = [np.arange(0, side, tiling.tile_px).tolist() for side in size]
    with StripReader(open_scene, size, tiling, [[row] for row in starts[0]], readers=options.readers) as reader:
        for strip in track(reader, "classifying tiles", len(starts[0])):
            tiles = list(_tiles(strip, starts[1], tiling, size))
            batch = options.tiles_a_call(tiling.tile_px)
            for begin in range(0, len(tiles), batch):
                yield from _answers(contract, runner, tiles[begin : begin + batch])


def _tiles(
    strip: Strip, columns: list[int], tiling: Tiling, size: tuple[int, int]
) -> Iterator[tuple[int, int, float, SceneGroups]]:
    row, side = strip.row_starts[0], tiling.tile_px
    pixels = strip.tile_row(row, (0, columns[-1] + side), tiling, mirrored=False)
    measured = strip.measured((row, min(row + side, size[0])))
    for column in columns:
        share = float(measured[:, column : column + side].sum()) / side**2
        if share > 0:
            spans = {g: slice(column * MAP_PIXEL_M // g, (column + side) * MAP_PIXEL_M // g) for g in pixels}
            yield row, column, share, {g: dn[..., spans[g]] for g, dn in pixels.items()}


def _answers(
    contract: Contract, runner: Runner, tiles: list[tuple[int, int, float, SceneGroups]]
) -> Iterator[TileAnswer]:
    logits = runner.run({g: np.stack([tile[g] for *_, tile in tiles]) for g in tiles[0][3]})
    if not np.isfinite(logits).all():
        raise BundleError(f"{runner.name} gave logits that are not finite; run it with --precision fp32.")
    for (row, column, share, _), logit in zip(tiles, logits, strict=True):
        yield TileAnswer(row, column, share, _said_of(contract, logit))


def _said_of(contract: Contract, outputs: np.ndarray) -> np.ndarray:
    """Return the probability of every class ``(K,)``, or the value ``(1,)`` of a regression."""
    return values(contract, outputs)[None] if contract.answer.continuous else probabilities(contract, outputs)


def write_table(
    bundle: Bundle, runner: Runner, open_scene: Callable[[], "Scene"], out: Path, options: PredictOptions
) -> int:
    """Write the tiles' classes as GeoJSON (.json, .geojson) or a table (.csv); return how many there are.

    Raises:
        OutputError: the output exists, cannot be written, or its name ends otherwise.
    """
    if out.suffix.lower() not in TABLE_SUFFIXES:
        raise OutputError(f"the output {out} is no table; give it a name that ends in {', '.join(TABLE_SUFFIXES)}.")
    if bundle.contract.makes_map:
        raise BundleError(f"the bundle {bundle.path} maps pixels; give --out a name that ends in .tif.")
    for name in ("confidence", "probabilities", "entropy", "disagreement", "ood", "png", "shift_check"):
        if getattr(options, name):
            raise BundleError(
                f"the bundle {bundle.path} classifies whole chips, and --{name.replace('_', '-')} is of maps;"
                " leave it out."
            )
    set_gdal_config("GDAL_CACHEMAX", options.cache_mb << 20)  # bytes, of the whole process
    with claimed(out), new_output(out) as temporary, open_scene() as scene:
        origin = origin_of(bundle, scene, options)
        rows = [_row(answer, scene, bundle) for answer in classify_tiles(bundle.contract, runner, open_scene, options)]
        table = _as_csv(rows) if out.suffix.lower() == ".csv" else _as_geojson(rows, bundle, origin.record())
        temporary.write_text(table)
        return len(rows)


def _row(answer: TileAnswer, scene: "Scene", bundle: Bundle) -> dict[str, Any]:
    labels = bundle.contract.get_label_set()
    finest_m = min(group.gsd_m for group in bundle.contract.groups)
    side = bundle.contract.tile_px
    corners = ((0, 0), (0, side), (side, side), (side, 0), (0, 0))
    scale = MAP_PIXEL_M / finest_m
    places = [scene.transform * ((answer.column_px + x) * scale, (answer.row_px + y) * scale) for x, y in corners]
    lon, lat = projected(scene.crs, "EPSG:4326", *np.array(places).T)
    return {
        "scene": str(scene.name),
        "row_px": answer.row_px,
        "column_px": answer.column_px,
        **_said(answer.shares, bundle.contract),
        "measured": round(answer.measured, 4),
        "ring": [[round(a, 7), round(b, 7)] for a, b in zip(lon, lat, strict=True)],
        "shares": {} if bundle.contract.answer.continuous else _shares(labels.names, answer.shares),
    }


def _shares(names: tuple[str, ...], shares: np.ndarray) -> dict[str, float]:
    return {name: round(float(share), 4) for name, share in zip(names, shares, strict=True)}


def _said(shares: np.ndarray, contract: Contract) -> dict[str, Any]:
    """Return the likeliest class, every class that is there where there may be several, or the value."""
    labels = contract.get_label_set()
    if contract.target is not None:
        value = float(f"{shares[0]:.7g}")  # all that float32 holds, however small the unit makes it
        return {"quantity": contract.target.name, "value": value, "unit": contract.target.unit}
    if contract.answer.several:
        there = np.flatnonzero(shares >= thresholds(contract)).tolist()
        return {"classes": [labels.names[k] for k in there], "codes": [labels.codes[k] for k in there]}
    best = int(shares.argmax())
    return {"class": labels.names[best], "code": labels.codes[best], "probability": round(float(shares[best]), 4)}


def _as_csv(rows: list[dict[str, Any]]) -> str:
    """Several classes of one tile stand in one cell, parted by semicolons."""
    text = io.StringIO()
    plain = [key for key in (rows[0] if rows else {}) if key not in ("ring", "shares")]
    names = list(rows[0]["shares"]) if rows else []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*plain, "west", "north", *names])
    for row in rows:
        cells = [";".join(map(str, row[key])) if isinstance(row[key], list) else row[key] for key in plain]
        writer.writerow([*cells, *row["ring"][0], *row["shares"].values()])
    return text.getvalue()


def _as_geojson(rows: list[dict[str, Any]], bundle: Bundle, origin: dict[str, Any]) -> str:
    """Corners run anticlockwise, as RFC 7946 wants."""
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [row.pop("ring")]}, "properties": row}
        for row in rows
    ]
    own = {"bandloom:bundle": bundle.record.name, MEMBER: origin}
    record = {"type": "FeatureCollection", **own, "features": features}
    return json.dumps(record, indent=1) + "\n"
