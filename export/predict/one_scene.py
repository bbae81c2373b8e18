"""Predicts one scene, whatever its output is; a finished output is kept if this command would make the same."""

import os
from collections.abc import Iterator
from pathlib import Path

from bandloom.errors import OutputError
from bandloom.export.bundle.bundle import Bundle
from bandloom.export.predict.claim import tidy
from bandloom.export.predict.embeddings import write_packed
from bandloom.export.predict.map_job import side_files
from bandloom.export.predict.map_scene import map_scene
from bandloom.export.predict.options import PredictOptions, command_of, scene_opener
from bandloom.export.predict.origin import origin_of, require_same
from bandloom.export.predict.tile_table import TABLE_SUFFIXES, write_table
from bandloom.export.predict.value_map import map_values
from bandloom.export.products.polygons import PolygonOptions, write_polygons
from bandloom.export.runtimes.onnx_runner import Runner


def predict_one(bundle: Bundle, runner: Runner, scene: str, out: Path, options: PredictOptions) -> Iterator[str]:
    """Map or classify one scene and yield what to tell the user."""
    opener = scene_opener(scene, options)
    if out.suffix.lower() in TABLE_SUFFIXES:
        yield f"{out}: {write_table(bundle, runner, opener, out, options)} tiles"
    elif bundle.contract.answer.continuous:
        yield from map_values(bundle, runner, opener, out, options)
    else:
        command = command_of(bundle.path, [scene], out, options)
        yield from map_scene(bundle, runner, opener, out, options, command).lines()
        if options.polygons:
            yield from write_polygons(out, options.polygons, PolygonOptions()).lines()
    if options.embeddings:
        yield _embed(bundle, scene, out, options)


def predict_missing(bundle: Bundle, runner: Runner, scene: str, out: Path, options: PredictOptions) -> Iterator[str]:
    """Predict one scene where its output is not there; one that is there must be this command's own.

    Raises:
        OutputError: what is there was made from another scene or bundle, with other options, or lacks a side file.
    """
    if not os.path.lexists(out):
        yield from predict_one(bundle, runner, scene, out, options)
        return
    require_same_outputs(bundle, scene, out, options)
    tidy(out)
    yield f"{out}: there already, left alone"
    if options.embeddings and not os.path.lexists(_embeddings_of(out)):
        yield _embed(bundle, scene, out, options)


def require_same_outputs(bundle: Bundle, scene: str, out: Path, options: PredictOptions) -> None:
    """Check that a finished output, and what lies beside it, is what this command would make.

    Raises:
        OutputError: it was made from something else, or a side file that is asked for is missing.
        SceneError: the scene cannot be read.
    """
    with scene_opener(scene, options)() as opened:
        require_same(out, origin_of(bundle, opened, options))
        if options.embeddings and os.path.lexists(_embeddings_of(out)):
            require_same(_embeddings_of(out), origin_of(bundle, opened, options, features=True))
    if out.suffix.lower() not in TABLE_SUFFIXES:
        for suffix, side in side_files(out, options).items():
            if suffix not in ("qml", "stac.json") and not side.exists():
                raise OutputError(f"{out} is there already, but {side.name} is not; remove the map to make both.")


def _embeddings_of(out: Path) -> Path:
    return out.with_name(f"{out.stem}.embeddings.tif")


def _embed(bundle: Bundle, scene: str, out: Path, options: PredictOptions) -> str:
    target = _embeddings_of(out)
    bands, rows, columns, packed = write_packed(bundle, scene_opener(scene, options), target, options)
    return f"{target}: {rows} x {columns} tokens of {bundle.contract.token_m} m, {bands} dimensions{packed}"
