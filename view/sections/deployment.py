"""Report sections of a bundle and of a map: parity and engines; areas, timing and provenance."""

import base64
import json

from bandloom.rasters.png import png
from bandloom.view.records import Record
from bandloom.view.sections.parts import Picture, Section, plain, table
from bandloom.view.standalone import view_of
from bandloom.view.tiles import class_picture
from bandloom.view.value_map import ValueMap, open_map


def parity(record: Record) -> Section:
    """Return how far every model file lies from torch."""
    shown = ("max_abs", "argmax_agreement", "score", "torch_score", "macro_f1", "torch_macro_f1", "chips", "runtime")
    rows = [
        [model["file"], model["precision"], *((model.get("parity") or {}).get(name) for name in shown)]
        for model in record.result.get("models") or []
    ]
    scores = ("accuracy", "torch's accuracy", "macro-F1", "torch's macro-F1")
    head = ("model", "precision", "largest difference", "classes agree", *scores, "chips", "runtime")
    return Section("Against torch, on held chips", tables=table(head, rows))


def engines(record: Record) -> Section:
    """Return the compiled engines."""
    records = record.result.get("engines") or []
    names = sorted({name for engine in records for name, value in engine.items() if not isinstance(value, dict | list)})
    rows = [[engine.get(name) for name in names] for engine in records]
    return Section("Compiled engines", tables=table(names, rows))


def contract(record: Record) -> Section:
    """Return what the bundle takes, and its classes."""
    fields = record.result.get("contract") or {}
    inputs = [[group["name"], f"{group['gsd_m']} m", ", ".join(group["bands"])] for group in fields.get("groups") or []]
    classes = [
        [land_class["code"], land_class["name"], land_class["colour"]]
        for land_class in (fields.get("label_set") or {}).get("classes", [])
    ]
    return Section(
        "What it takes and gives",
        tables=[
            *table(("input", "sampling", "bands"), inputs),
            *table(("", ""), plain(fields)),
            *table(("code", "class", "colour"), classes),
        ],
    )


def provenance(record: Record) -> Section:
    """Return what the bundle was made from."""
    fields = record.result.get("provenance") or {}
    trained = [[f"training: {name}", value] for name, value in plain(fields.get("training") or {})]
    return Section("Where it comes from", tables=table(("", ""), plain(fields) + trained))


def map_picture(record: Record) -> Section:
    """Return the map in its classes' colours."""
    class_map = open_map(record.path)
    pixels = class_picture(class_map, *view_of(class_map.bounds, 900))
    return Section("The map", pictures=[Picture(record.name, base64.b64encode(png(pixels)).decode())])


def areas(record: Record) -> Section:
    """Return how much ground every class, or every step of the values, covers."""
    opened = open_map(record.path)
    classes = opened.classes
    total = sum(row.pixels for row in classes) or 1
    rows = [[row.name, row.value, row.colour, row.pixels, row.hectares, row.pixels / total] for row in classes]
    if isinstance(opened, ValueMap):
        by_step = [[name, pixels, hectares, share] for name, _, _, pixels, hectares, share in rows]
        return Section("Areas", tables=table((opened.target.title, "pixels", "hectares", "share"), by_step))
    return Section("Areas", tables=table(("class", "code", "colour", "pixels", "hectares", "share"), rows))


def timing(record: Record) -> Section:
    """Return where the time went; what ran side by side does not add up."""
    stages = (record.result.get("properties") or {}).get("bandloom:seconds") or {}
    rows = [[name, seconds] for name, seconds in stages.items()]
    return Section("Where the time went", tables=table(("", "seconds"), rows))


def map_facts(record: Record) -> Section:
    """Return what the map's own tags and its STAC item say."""
    tags = open_map(record.path).tags
    rows = [
        [name.lower().replace("_", " "), tags[name]]
        for name in ("SCENE", "SENSOR", "BUNDLE", "RUNTIME", "MODEL_SHA256", "CONTRACT")
        if name in tags
    ]
    source = json.loads(tags.get("SCENE_PROVENANCE", "{}")).get("source")
    rows += [["source", source]] if source else []
    known = record.result.get("properties") or {}
    rows += [["time", known.get("datetime") or "not known"], ["grid", known.get("proj:code") or "not known"]]
    return Section("Where it comes from", tables=table(("", ""), rows))
