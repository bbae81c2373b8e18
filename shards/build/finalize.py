"""Finalises a build: splits, statistics, one index of all samples, the quarantine list, and last the manifest."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bandloom import __version__
from bandloom.command_line.console import logger
from bandloom.command_line.typed import typed_command
from bandloom.errors import ShardError
from bandloom.shards.build.duplicates import DUPLICATE_SPLIT, find_duplicates, say_duplicates
from bandloom.shards.build.geography import split_of_cells
from bandloom.shards.build.published import describe_published, say_shared, split_of_published
from bandloom.shards.build.splits import Chosen, choose_splits
from bandloom.shards.build.statistics import split_statistics
from bandloom.shards.store.index import INDEX, Entry, read_index, write_index
from bandloom.shards.store.manifest import write_manifest
from bandloom.target import parse_target

QUARANTINE = "quarantine.jsonl"
SAID = 20  # pairs of scenes that repeat each other, one line each


def finalize(place: Path, plan: dict[str, Any], journals: Sequence[dict[str, Any]]) -> int:
    """Write ``samples.jsonl``, ``quarantine.jsonl`` (when needed) and ``manifest.json``; return the failed sources.

    Raises:
        ShardError: not one source gave a sample; the first reason is given.
    """
    tars = [tar for journal in journals for tar in journal["tars"]]
    quarantine = [bad for journal in journals for bad in journal["quarantine"]]
    entries = [entry for tar in tars for entry in read_index(_beside(place, tar["tar"], "index.jsonl"))]
    if not entries:
        raise ShardError(quarantine[0]["reason"] if quarantine else "no sample was made; check the sources.")
    told = plan["options"]["split"]
    published = plan.get("published")
    cells = split_of_published(entries, published) if published else split_of_cells(entry.cells for entry in entries)
    if published:
        chosen = Chosen(tuple(cells[entry.cells[0]] for entry in entries), f"published: {published}")
    else:
        chosen = choose_splits(entries, cells, told)
    provenance = {key: value for journal in journals for key, value in journal["provenance"].items()}
    repeated = {} if published else find_duplicates(_newest_first(entries, provenance))
    if published and (shared := say_shared(entries, published)):
        logger.warning("%s", shared)
    for line in (lines := say_duplicates(repeated))[:SAID]:
        logger.warning("%s", line)
    if len(lines) > SAID:
        logger.warning("%d more pairs of scenes repeat each other: split 'duplicate' in %s", len(lines) - SAID, INDEX)
    entries = [
        replace(entry, split=DUPLICATE_SPLIT if entry.key in repeated else split)
        for entry, split in zip(entries, chosen.splits, strict=True)
    ]
    _say_warped(provenance)
    if plan["options"].get("captions"):
        _say_captions(entries)
    if plan["options"]["labels"] and not any(entry.has_label for entry in entries):
        logger.warning(
            "no sample is labelled: %s labels no ground of these scenes; check its place and its coordinate system",
            plan["options"]["labels"],
        )
    write_index(place / INDEX, entries)
    if quarantine:
        (place / QUARANTINE).write_text("".join(json.dumps(bad) + "\n" for bad in quarantine))
    sensors = _sensors(provenance)
    write_manifest(
        place,
        {
            "made_by": f"bandloom {__version__}",
            "samples": len(entries),
            "labelled": sum(entry.has_label for entry in entries),
            "splits": dict(Counter(entry.split for entry in entries)),
            "split_rule": chosen.rule,
            "cells": cells,
            "sensors": sensors,
            "label_set": plan["label_set"],
            **_quantity(plan["options"].get("quantity")),
            **({"published": describe_published(entries, published)} if published else {}),
            **({"collection": plan["reader"]} if "reader" in plan else {}),
            "statistics": split_statistics(place, sensors, entries),
            "side_px": plan["options"]["side_px"],
            "options": plan["options"],
            "quarantined": len(quarantine),
            **({"command": words} if (words := typed_command()) else {}),
            "shards": tars,
            "sources": provenance,
        },
    )
    return len(quarantine)


def _sensors(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Take the records of sensors out of what is known of the sources: one of a scene, some of a container."""
    sensors: dict[str, Any] = {}
    for record in provenance.values():
        for sensor in record.pop("sensor_records", {}).values():
            sensors[sensor["name"]] = sensor
        if "sensor_record" in record:
            sensor = record.pop("sensor_record")
            sensors[sensor["name"]] = sensor
    return sensors


def _quantity(text: str | None) -> dict[str, Any]:
    """Return what the values of a build measure; nothing where it has none."""
    if text is None:
        return {}
    target = parse_target(text)
    return {"quantity": {"name": target.name, "unit": target.unit}}


def _say_warped(provenance: Mapping[str, Any]) -> None:
    """Say how the scenes that did not come in UTM were brought there."""
    warped = [bool(source["own_samples"]) for source in provenance.values() if "warped_from" in source]
    if warped:
        logger.info(
            "warped %d scenes to UTM: %d copied their sensor's samples, which were taken back unchanged; %d"
            " were resampled",
            len(warped),
            sum(warped),
            len(warped) - sum(warped),
        )


def _say_captions(entries: Sequence[Entry]) -> None:
    captioned = sum(bool(entry.captions) for entry in entries)
    (logger.info if captioned else logger.warning)("%d of %d samples have captions", captioned, len(entries))


def _newest_first(entries: Sequence[Entry], provenance: dict[str, Any]) -> list[Entry]:
    """Return samples with those of the newest processing baseline first, else in their own order."""

    def age(entry: Entry) -> float:
        told = provenance.get(entry.key.rsplit("_r", 1)[0], {}).get("processing_baseline")
        return -float(told) if re.fullmatch(r"\d+(\.\d+)?", str(told)) else 0.0

    return sorted(entries, key=age)


def _beside(place: Path, tar: str, suffix: str) -> Path:
    return place / f"{tar.removesuffix('.tar')}.{suffix}"
