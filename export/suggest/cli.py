"""The verb ``bandloom labels suggest``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.command_line.options import Only, fills
from bandloom.export.predict.options import PredictOptions
from bandloom.export.suggest.suggest import SuggestOptions

READING = ("sensor", "band_map", "offset", "scale", "nodata", "bands")


@fills
def suggest(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder; of an ensemble disagreement counts.")],
    scene: Annotated[str, typer.Argument(help="The scene to label.")],
    out: Annotated[Path, typer.Option(help="Points to write: .gpkg, .geojson or .csv; must not exist.")],
    wanted: SuggestOptions,
    options: Annotated[PredictOptions, Only("precision", "runtime", "batch", "threads", "symmetry", *READING)],
) -> None:
    """Suggest places of a scene whose labels would help most, for the labelling page; needs no torch."""
    from bandloom.export.suggest.suggest import suggest as run

    for line in run(bundle, scene, out, wanted, options):
        typer.echo(line)
