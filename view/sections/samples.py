"""Report sections of a shard folder: counts, places, reflectance, pictures, and what was left out."""

from typing import Any

from bandloom.sensors import SLOTS
from bandloom.view.ground_map import MOST_PLACES, colour_of, place_map, places_of, title_of, world_map
from bandloom.view.records import Record
from bandloom.view.sections.parts import Section, picture, table


def samples(record: Record) -> Section:
    """Return samples by split, and how many have labels."""
    result = record.result
    splits = result.get("splits") or {}
    row = ["samples", result.get("samples"), *splits.values(), result.get("labelled")]
    return Section("Samples", tables=table(("", "all", *splits, "with labels"), [row]))


def places(record: Record) -> Section:
    """Return a map of all places and one of each of the largest."""
    squares = places_of(record.lines)
    if not squares:
        return Section("")
    linked = set(record.thumbnails)
    shown = squares[:MOST_PLACES]
    charts = [
        _figure("All places", world_map(squares)),
        *(_figure(title_of(place), place_map(place, linked), "place") for place in shown),
    ]
    splits = sorted({str(line.get("split", "")) for line in record.lines})
    keys = "".join(f'<span><i style="background:{colour_of(name)}"></i>{name}</span>' for name in splits)
    rest = f" The {len(shown)} largest of {len(squares)} places by themselves." if len(squares) > len(shown) else ""
    note = "Squares are samples on the ground, coloured by split." + rest
    return Section("Where they lie", note, charts=[f'<p class="legend wide">{keys}</p>', *charts])


def statistics(record: Record) -> Section:
    """Return mean, deviation and quantiles of every band."""
    by_band = record.result.get("statistics") or {}
    mean, std, quantiles = by_band.get("mean") or {}, by_band.get("std") or {}, by_band.get("quantiles") or {}
    marks = list(next(iter(quantiles.values()), {}))
    rows = [
        [slot, mean[slot], std[slot], *(quantiles.get(slot, {}).get(mark) for mark in marks)]
        for slot in SLOTS
        if slot in mean
    ]
    head = ["", "mean", "deviation", *(f"{100 * float(mark):g} % lie below" for mark in marks)]
    return Section("Reflectance, band by band", tables=table(head, rows))


def contact_sheet(record: Record) -> Section:
    """Return the pictures of samples that were drawn, each with what is known of it."""
    names = [land_class["name"] for land_class in (record.result.get("label_set") or {}).get("classes", [])]
    shown = [
        picture(path, note=_note(record.lines[number], names), anchor=f"s{number}")
        for number, path in record.thumbnails.items()
        if number < len(record.lines)
    ]
    note = (
        f"{len(shown):,} of {len(record.lines):,} samples, evenly spread: true colour, and labels where there are any."
    )
    return Section("Contact sheet", note, sheet=shown)


def quarantine(record: Record) -> Section:
    """Return the inputs that gave no sample, each with its reason."""
    rows = [[line.get("key") or line.get("source") or "?", line.get("reason", "?")] for line in record.quarantine]
    return Section("Quarantined", tables=table(("source", "reason"), rows))


def sources(record: Record) -> Section:
    """Return every input with what was found out about it."""
    rows = [
        [name, *(told.get(key) for key in ("sensor", "offset", "offset_from", "processing_baseline"))]
        for name, told in (record.result.get("sources") or {}).items()
    ]
    return Section("Inputs", tables=table(("", "sensor", "offset", "offset from", "baseline"), rows))


def _note(sample: dict[str, Any], names: list[str]) -> str:
    told = [sample.get("key", ""), sample.get("split", "")]
    index = sample.get("class_index")
    if index is not None and index < len(names):
        told.append(names[index])
    told.append(f"{sample.get('valid_fraction', 0):.0%} measured")
    if sample.get("cloud_fraction") is not None:
        told.append(f"{sample['cloud_fraction']:.0%} cloud")
    if sample.get("datetime"):
        told.append(sample["datetime"][:10])
    return " · ".join(map(str, told))


def _figure(title: str, chart: str, kind: str = "map") -> str:
    return f'<figure class="{kind}"><figcaption>{title}</figcaption>{chart}</figure>'
