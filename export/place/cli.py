"""Command ``map``."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from bandloom.command_line.options import Only, fills
from bandloom.errors import SceneError
from bandloom.export.predict.options import PredictOptions


@fills
def map_place(
    bbox: Annotated[str, typer.Option(help="The ground: west,south,east,north in degrees.")],
    date: Annotated[str, typer.Option(metavar="FROM/TO", help="First and last day: 2024-06-01/2024-06-30.")],
    bundle: Annotated[Path, typer.Option(help="The bundle to map with, of a model that maps classes.")],
    out: Annotated[Path, typer.Option(help="Folder of all results; the same command goes on in it.")],
    options: Annotated[
        PredictOptions, Only("batch", "readers", "threads", "cache_mb", "precision", "runtime", "confidence")
    ],
    api: Annotated[
        str, typer.Option(help="A STAC API, or a static catalogue: its catalog.json or folder.")
    ] = "https://earth-search.aws.element84.com/v1",
    collection: Annotated[str | None, typer.Option(help="Its collection there; by default by the sensor.")] = None,
    max_cloud: Annotated[float, typer.Option(help="Leave out items with more cloud, in percent.")] = 100.0,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write a page to look at each map.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched and written.")] = False,
) -> None:
    """Map a box: fetch the clearest scene, map it, and write polygons, a table of areas and a page."""
    from bandloom.export.bundle.bundle import read_bundle
    from bandloom.export.place.begun import Begun, request_of
    from bandloom.export.place.map_place import COLLECTIONS, MOST_ITEMS, Place, check_bundle
    from bandloom.shards.fetch import Search
    from bandloom.shards.scenes.cut import parse_bbox

    box, days = parse_bbox(bbox), days_of(date)
    opened = read_bundle(bundle)
    check_bundle(opened)
    sensor = opened.contract.get_sensor().name
    name = collection or COLLECTIONS.get(sensor)
    if name is None:
        raise SceneError(f"no catalogue is known to keep scenes of {sensor}; name one's --collection and --api.")
    chosen = options.model_copy(update={"bbox": bbox})
    asked = {"bbox": list(box), "date": days, "api": api, "collection": name, "max_cloud": max_cloud}
    told = {"precision": options.precision, "confidence": options.confidence}
    begun = Begun(out, request_of(opened, **asked, **told))
    place = Place(opened, Search(api, name, box, days, max_cloud, MOST_ITEMS), out, begun, chosen, page)
    for line in place.plan() if dry_run else place.run():
        typer.echo(line)


def days_of(text: str) -> str:
    """Return ``FROM/TO`` of one day or two.

    Raises:
        SceneError: it is neither, or ends before it begins.
    """
    try:
        days = [dt.date.fromisoformat(day.strip()) for day in text.split("/")]
    except ValueError:
        days = []
    if len(days) not in (1, 2) or days[0] > days[-1]:
        raise SceneError(f"--date {text!r} is not understood; write the first and the last day, 2024-06-01/2024-06-30.")
    return f"{days[0]}/{days[-1]}"
