"""Commands ``polygons``, ``zones`` and ``similar``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandloom.command_line.options import Only, fills
from bandloom.export.products.polygons import PolygonOptions
from bandloom.shards.labels.reading import LabelReading
from bandloom.shards.labels.vector_file import NO_FIELD

if TYPE_CHECKING:
    from bandloom.export.products.zones import ZoneAreas

SHOWN = 20  # zones on the console
MOST_CLASSES, LARGEST = 5, 3  # of a column each; of more, the largest are named


@fills
def polygons(
    map_path: Annotated[Path, typer.Argument(metavar="MAP.tif", help="The map of classes, a GeoTIFF.")],
    out: Annotated[Path, typer.Option(help="Polygons to write: .gpkg, .fgb or .parquet; must not exist.")],
    options: PolygonOptions,
) -> None:
    """Write a map as polygons with class, hectares and confidence, whose common borders stay common."""
    from bandloom.export.maps.feature_file import require_writable
    from bandloom.export.products.polygons import write_polygons

    require_writable(out)
    for line in write_polygons(map_path, out, options).lines():
        typer.echo(line)


@fills
def zones(
    map_path: Annotated[Path, typer.Argument(metavar="MAP.tif", help="The map of classes, a GeoTIFF.")],
    zones_path: Annotated[Path, typer.Argument(metavar="ZONES", help="Polygons: .gpkg, .geojson or .shp.")],
    out: Annotated[Path, typer.Option(help="A table .csv, or the zones with columns: .gpkg, .fgb or .parquet.")],
    reading: Annotated[LabelReading, Only("layer", "encoding")],
    name: Annotated[str, typer.Option(help="Attribute that names a zone; without one zones are counted.")] = NO_FIELD,
) -> None:
    """Add up hectares and shares of a map's classes in each zone."""
    from bandloom.command_line.console import console, logger, table
    from bandloom.export.maps.feature_file import require_writable
    from bandloom.export.products.zone_table import ZONE_SUFFIXES, write_zones
    from bandloom.export.products.zones import zone_areas
    from bandloom.files.output import sole_writer

    require_writable(out, ZONE_SUFFIXES)
    with sole_writer(out):
        areas = zone_areas(map_path, zones_path, replace(reading, field=name))
        write_zones(out, areas)
    head, rows = _shown(areas)
    console.print(table(f"hectares (share) in {len(areas.zone_ha)} zones: {out}", head, rows))
    for warning in areas.warnings():
        logger.warning(warning)


def _shown(areas: "ZoneAreas") -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return what the console shows of the first zones: a column a class, or the largest of many in one."""
    told = [
        [f"{ha:,.2f} ({share:.1%})" for ha, share in zip(held, shares, strict=True)]
        for held, shares in zip(areas.class_ha[:SHOWN], areas.shares[:SHOWN], strict=True)
    ]
    if len(areas.names) <= MOST_CLASSES:
        return ("zone", *areas.names), [(areas.called(number), *cells) for number, cells in enumerate(told)]
    rows = []
    for number, cells in enumerate(told):
        largest = [index for index in areas.class_ha[number].argsort()[::-1][:LARGEST] if areas.class_ha[number, index]]
        named = ", ".join(f"{areas.names[index]} {cells[index]}" for index in largest)
        rows.append((areas.called(number), f"{areas.mapped_ha[number]:,.2f}", named))
    return ("zone", "mapped ha", f"largest {LARGEST} of {len(areas.names)} classes"), rows


def similar(
    embeddings: Annotated[
        Path, typer.Argument(metavar="EMBEDDINGS.tif", help="What embed or predict --embeddings wrote.")
    ],
    out: Annotated[Path, typer.Option(help="The new GeoTIFF.")],
    at: Annotated[str | None, typer.Option(metavar="X,Y", help="A place: longitude,latitude unless --crs.")] = None,
    crs: Annotated[str, typer.Option(help="Coordinate system of --at.")] = "EPSG:4326",
    clusters: Annotated[int | None, typer.Option(help="Instead: a map of so many classes, by k-means.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first centres of --clusters.")] = 0,
) -> None:
    """Map what looks like a place, or part the ground into classes that look alike; needs no labels and no text."""
    from bandloom.embeddings.similar import map_similarity
    from bandloom.errors import ConfigError
    from bandloom.export.products.similar import map_clusters
    from bandloom.files.output import require_absent

    if (at is None) == (clusters is None):
        raise ConfigError("similar takes --at X,Y for a map of similarity, or --clusters N for a map of classes.")
    require_absent([out])
    if clusters is not None:
        counts = map_clusters(embeddings, out, clusters, seed)
        typer.echo(f"{out}: {clusters} classes of {', '.join(f'{count:,}' for count in counts)} tokens")
        return
    try:
        x, y = (float(part) for part in str(at).split(","))
    except ValueError as cause:
        raise ConfigError(f"--at {at!r} is not understood; write two numbers with a comma: longitude first.") from cause
    share = map_similarity(embeddings, out, (x, y), crs)
    typer.echo(f"{out}: {share:.1%} of the measured tokens have a cosine of 0.9 or more with {at}")
