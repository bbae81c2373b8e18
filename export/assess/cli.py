"""The verbs of ``bandloom assess``."""

from pathlib import Path
from typing import Annotated

import typer

from bandloom.command_line.options import Only, fills
from bandloom.export.assess.reference_points import BEFORE
from bandloom.shards.labels.reading import LabelReading

app = typer.Typer(no_args_is_help=True, add_completion=False)

Map = Annotated[Path, typer.Argument(help="The map of classes, a GeoTIFF.")]
Before = Annotated[Path | None, typer.Option(help="An earlier map of the ground: classes are what became what.")]


@app.callback()
def assess() -> None:
    """Estimate a map's accuracy and the area of its classes, with errors, from reference points; needs no torch."""


@app.command()
def agree(
    one: Annotated[Path, typer.Argument(help="Points that one person labelled.")],
    other: Annotated[Path, typer.Argument(help="A copy of them that another person labelled.")],
    out: Annotated[Path | None, typer.Option(help="Write the points, with a class where both agree.")] = None,
) -> None:
    """Compare two labellers of the same points: observed agreement, Cohen's kappa, and where they differ."""
    from bandloom.command_line.console import console, table
    from bandloom.export.assess.agreement import agreement, merged
    from bandloom.files.output import require_absent
    from bandloom.files.points_file import read_points_file

    require_absent([out] if out else [])
    files = read_points_file(one), read_points_file(other)
    compared = agreement(*files)
    told = f"observed agreement {compared.observed:.3f}, kappa {compared.kappa:.3f}"
    title = f"{len(compared.both)} of {compared.points} points have two classes: {told}"
    rows = [(number + 1, *classes) for number, *classes in compared.differing]
    console.print(table(title, ("point", one.name, other.name), rows))
    if out:
        merged(*files).write(out)
        console.print(f"{out} holds the classes on which both agree; label the others together.", soft_wrap=True)


@app.command()
@fills
def score(
    map_path: Map,
    points: Annotated[Path, typer.Argument(help="Points with a class each: .gpkg, .geojson, .shp, or .csv.")],
    reading: Annotated[LabelReading, Only("field", "layer", "encoding")],
    out: Annotated[Path | None, typer.Option(help="Write all figures as JSON.")] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="AREAS.csv", help="Write hectares and accuracies of each class, with errors.")
    ] = None,
    before: Before = None,
    attribute_before: Annotated[str, typer.Option(help="With --before: attribute of the class before.")] = BEFORE,
) -> None:
    """Estimate error matrix, accuracies, and hectares of every class, each with its 95 % interval."""
    import json

    from bandloom.command_line.console import console, logger
    from bandloom.export.assess.area_table import TABLE_SUFFIXES, write_area_table
    from bandloom.export.assess.score import assess_map
    from bandloom.export.assess.words import paragraph, tables
    from bandloom.export.maps.feature_file import require_writable
    from bandloom.files.output import new_output, require_absent

    require_absent([out] if out else [])
    if table:
        require_writable(table, TABLE_SUFFIXES)
    assessment = assess_map(map_path, points, reading, before, attribute_before)
    for shown in tables(assessment, console.width):
        console.print(shown)
    for warning in assessment.warnings:
        logger.warning(warning)
    text = paragraph(assessment)
    console.print(text, soft_wrap=True)
    if table:
        write_area_table(table, assessment)
    if out:
        maps = {"map": str(map_path), **({"before": str(before)} if before else {})}
        record = {**maps, "points_file": str(points), **assessment.record(), "methods": text}
        with new_output(out) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")


@app.command()
def sample(
    map_path: Map,
    out: Annotated[Path, typer.Option(help="Points to write: .gpkg, .geojson or .csv; must not exist.")],
    per_class: Annotated[int | None, typer.Option(help="Points of every class; with --total, at least.")] = None,
    total: Annotated[int | None, typer.Option(help="Points in all, shared in proportion to the classes.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw: the same seed draws the same points.")] = 0,
    before: Before = None,
) -> None:
    """Draw a stratified random sample of a map's pixels, to be labelled and scored; 50 a class unless told."""
    from bandloom.command_line.console import console, table
    from bandloom.export.assess.draw import draw_sample
    from bandloom.export.assess.write_points import FORMATS, write_sample
    from bandloom.export.maps.feature_file import require_writable
    from bandloom.files.output import sole_writer

    require_writable(out, FORMATS)
    with sole_writer(out):
        drawn = draw_sample(map_path, per_class, total, seed, before)
        write_sample(out, drawn)
    rows = [
        (stratum.name, f"{stratum.hectares:,.2f}", f"{stratum.pixels:,}", points)
        for stratum, points in zip(drawn.strata, drawn.allocated, strict=True)
    ]
    console.print(table(f"{len(drawn.stratum)} points", ("stratum", "mapped ha", "pixels", "points"), rows))
    columns = "columns class_before and class" if before else "column class"
    named = f"{map_path} {out}" + (f" --before {before}" if before else "")
    console.print(
        f"Fill in the {columns} of {out} without looking at the map, then: bandloom assess score {named}",
        soft_wrap=True,
    )
