"""The sections of a fine-tuning: scores beside their floors, mistakes, calibration, fewer bands, the split."""

from collections.abc import Mapping, Sequence
from typing import Any

from bandloom.view.records import Record
from bandloom.view.sections.parts import Section, table

SHOWN = ("overall", "balanced", "macro_f1", "mean_iou", "kappa", "map_macro", "map_micro", "f1_macro", "f1_micro")
TITLES = {
    "overall": "accuracy",
    "macro_f1": "macro-F1",
    "mean_iou": "mean IoU",
    "f1": "F1",
    "iou": "IoU",
    "map_macro": "mAP",
    "map_micro": "micro-mAP",
    "f1_macro": "macro-F1",
    "f1_micro": "micro-F1",
}


def title(name: str) -> str:
    """Return what people call a score."""
    return TITLES.get(name, name)


def scores(record: Record) -> Section:
    """Return every row's scores, the model's first, with the interval of the first score."""
    rows = record.result["rows"]
    held = [name for name in SHOWN if any(isinstance(row.get(name), int | float) for row in rows)]
    head = ["", *map(title, held), "95 % interval of " + title(held[0]) if held else ""]
    cells = [[row["name"].replace("_", " "), *(row.get(name) for name in held), _interval(row, held)] for row in rows]
    note = "On ground held out; the first row is the model." if record.kind == "finetune" else "On ground held out."
    return Section(
        "Scores beside their floors", note, tables=table(head, cells, strong=0 if record.kind == "finetune" else None)
    )


def _interval(row: Mapping[str, Any], held: Sequence[str]) -> str:
    pair = (row.get("interval_95") or {}).get(held[0]) if held else None
    return f"{pair[0]:.3f} to {pair[1]:.3f}" if pair else ""


def seeds(record: Record) -> Section:
    """Return what the scores are over trainings from several seeds."""
    found = record.result.get("seeds") or []
    held = [name for name in SHOWN if found and name in found[0]["mean"]]
    rows = [
        [each["name"], *(f"{each['mean'][name]:.3f} ± {each['deviation'][name]:.3f}" for name in held)]
        for each in found
    ]
    note = "Mean and deviation over trainings from other weights and order, on the same ground."
    return Section("Over seeds", note, tables=table(["", *map(title, held)], rows))


def verdicts(record: Record) -> Section:
    """Return, of image and context together, what the controls allow to be said, and what gives a class away."""
    leaks = (record.result.get("leaks") or {}).get("warnings") or []
    return Section("What the controls allow", items=[*(record.result.get("verdicts") or []), *map(str, leaks)])


def classes(record: Record) -> Section:
    """Return the model's scores class by class."""
    found = record.result["rows"][0].get("classes") or []
    names = [name for name in ("precision", "recall", "f1", "iou", "support") if found and name in found[0]]
    rows = [[each["name"], *(each[name] for name in names)] for each in found]
    return Section("Class by class", tables=table(["", *map(title, names)], rows))


def confusions(record: Record) -> Section:
    """Return the commonest mistakes."""
    items = [
        f"{each['truth']} taken for {each['taken_for']}: {each['count']:,} ({each['share']:.0%} of it)"
        for each in record.result.get("top_confusions") or []
    ]
    return Section("What is taken for what", items=items)


def calibration(record: Record) -> Section:
    """Return the calibration error before and after the temperature."""
    found = record.result.get("calibration") or {}
    rows = [[f"error {when} the temperature", found[when]["error"]] for when in ("before", "after") if when in found]
    rows += [["temperature", found["temperature"]]] if rows else []
    return Section("Calibration", tables=table(("", "value"), rows))


def bands(record: Record) -> Section:
    """Return the scores with only some of the bands present."""
    rows = [
        ["all" if each["name"] == "fine-tuned" else each["name"], each["overall"], each["macro_f1"]]
        for each in record.result.get("bands") or []
    ]
    return Section(
        "On fewer bands",
        "The others absent, nothing trained again.",
        tables=table(("bands", "accuracy", "macro-F1"), rows),
    )


def split(record: Record) -> Section:
    """Return which ground tested, and how many labels each role had."""
    found = record.result.get("split") or {}
    labels = found.get("labels") or {}
    names = list(next(iter(labels.values()), {}))
    rows = [[name, *(held.get(name, 0) for held in labels.values())] for name in names]
    rule = ", ".join(f"{name} {value}" for name, value in found.items() if isinstance(value, str | int | float))
    return Section("The split", rule, tables=table(["labels of", *labels], rows))
