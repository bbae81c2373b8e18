"""The verbs of ``bandloom assess``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.options import Only, fills
from bandloom.shards.labels.reading import LabelReading

app = typer.Typer(no_args_is_help=True, add_completion=False)

Map = Annotated[Path, typer.Argument(help="The map of classes, a GeoTIFF.")]


@app.callback()
def assess() -> None:
    """Estimate a map's accuracy and the area of its classes, with errors, from reference points; needs no torch."""


@app.command()
@fills
def score(
    map_path: Map,
    points: Annotated[Path, typer.Argument(help="Points with a class each: .gpkg, .geojson, .shp, or .csv.")],
    reading: Annotated[LabelReading, Only("field", "layer", "encoding")],
    out: Annotated[Path | None, typer.Option(help="Write all figures as JSON.")] = None,
) -> None:
    """Estimate error matrix, accuracies, and hectares of every class, each with its 95 % interval."""
    import json

    from bandloom.console import console, logger
    from bandloom.export.assess.score import assess_map
    from bandloom.export.assess.words import paragraph, tables
    from bandloom.output import new_output, require_absent

    require_absent([out] if out else [])
    assessment = assess_map(map_path, points, reading)
    for shown in tables(assessment):
        console.print(shown)
    for warning in assessment.warnings:
        logger.warning(warning)
    text = paragraph(assessment)
    console.print(text, soft_wrap=True)
    if out:
        record = {"map": str(map_path), "points_file": str(points), **assessment.record(), "methods": text}
        with new_output(out) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")
