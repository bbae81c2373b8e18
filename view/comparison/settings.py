"""Settings of several records: the lines that differ, and those that are the same folded."""

import json
import shlex
from typing import Any

from bandloom.view.comparison.compared import Compared
from bandloom.view.records import Record
from bandloom.view.sections.parts import Fold, Section, table
from bandloom.view.value_map import open_map

ABSENT = "not there"
ENVIRONMENT = ("bandloom", "commit", "python", "platform", "packages")


def sections(group: Compared) -> list[Section]:
    """Return one section: what differs; what is the same is counted and folded."""
    held = [settings_of(record) for record in group.records]
    keys = list(dict.fromkeys(key for settings in held for key in settings))
    rows = {key: [settings.get(key, ABSENT) for settings in held] for key in keys}
    same = [[key, values[0]] for key, values in rows.items() if all(value == values[0] for value in values)]
    other = [[key, *values] for key, values in rows.items() if any(value != values[0] for value in values)]
    folds = [Fold(f"{len(same)} lines are the same", table(("", "all of them"), same))] if same else []
    note = "" if other else "No line of their settings differs."
    return [Section("What differs", note, tables=table(("", *group.names), other), folds=folds)]


def settings_of(record: Record) -> dict[str, str]:
    """Return what a record was made from, by dotted name: its config, or what its own record says."""
    told: dict[str, Any] = dict(record.config) or _of_result(record)
    environment = {key: record.environment[key] for key in ENVIRONMENT if record.environment.get(key)}
    made_by = {f"made by: {key}": value for key, value in flat(environment).items()}
    return {key: _text(value) for key, value in (flat(told) | made_by).items()}


def flat(record: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested keys as dotted ones."""
    if not isinstance(record, dict):
        return {prefix.removesuffix("."): record}
    merged: dict[str, Any] = {}
    for key, value in record.items():
        merged |= flat(value, f"{prefix}{key}.")
    return merged


def _of_result(record: Record) -> dict[str, Any]:
    result = record.result
    if record.kind == "bundle":
        contract = result.get("contract") or {}
        models = {str(model.get("precision")): model.get("parity") or {} for model in result.get("models") or []}
        return {**_named(contract), "parity": models, "provenance": result.get("provenance") or {}}
    if record.kind == "shards":
        kept = ("samples", "labelled", "splits", "split_rule", "side_px", "options", "made_by")
        return _named({key: result[key] for key in kept if key in result} | {"label_set": result.get("label_set")})
    if record.kind == "map":
        tags = sorted(open_map(record.path).tags.items())
        return {key.lower(): _opened(value) for key, value in tags if key != "CLASSES"}
    return {}


def _opened(text: str) -> Any:
    """Return what a map's tag holds: a record whose entries are compared one by one, a command as it is typed, text."""
    try:
        held = json.loads(text)
    except ValueError:
        return text
    if isinstance(held, list) and held and all(isinstance(word, str) for word in held):
        return shlex.join(held)
    return _numbered(held) if isinstance(held, dict | list) else text


def _numbered(held: Any) -> Any:
    """Return nested records with their lists of records as records by number, from 1."""
    if isinstance(held, list) and held and all(isinstance(one, dict) for one in held):
        held = {str(number): one for number, one in enumerate(held, 1)}
    return {key: _numbered(value) for key, value in held.items()} if isinstance(held, dict) else held


def _named(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its label set as the classes' names."""
    label_set = record.get("label_set") or {}
    names = [land_class["name"] for land_class in label_set.get("classes", [])]
    return {key: value for key, value in record.items() if key != "label_set"} | ({"classes": names} if names else {})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
