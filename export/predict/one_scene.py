"""Maps or classifies one scene, whatever its output is."""

from collections.abc import Iterator
from pathlib import Path

from bandloom.export.bundle.bundle import Bundle
from bandloom.export.predict.embeddings import write_embeddings
from bandloom.export.predict.map_scene import PredictOptions, map_scene, scene_opener
from bandloom.export.predict.tile_table import TABLE_SUFFIXES, write_table
from bandloom.export.runtimes.onnx_runner import Runner


def predict_one(bundle: Bundle, runner: Runner, scene: str, out: Path, options: PredictOptions) -> Iterator[str]:
    """Map or classify one scene and yield what to tell the user."""
    opener = scene_opener(scene, options)
    if out.suffix.lower() in TABLE_SUFFIXES:
        yield f"{out}: {write_table(bundle, runner, opener, out, options)} tiles"
    else:
        yield from map_scene(bundle, runner, opener, out, options).lines()
    if options.embeddings:
        target = out.with_name(f"{out.stem}.embeddings.tif")
        bands, rows, columns = write_embeddings(bundle, opener, target, options)
        yield f"{target}: {rows} x {columns} tokens of {bundle.contract.token_m} m, {bands} dimensions"
