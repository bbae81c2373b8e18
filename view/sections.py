"""The sections of a report: tables, charts and pictures of one stage's record."""

import base64
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from view.charts import line_chart
from view.records import Record


@dataclass(frozen=True)
class Table:
    """Rows under a head; a number in 0..1 of a column in ``shares`` gets a bar behind it."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    strong: int | None = None  # the row that matters


@dataclass(frozen=True)
class Picture:
    """A PNG inside the page."""

    name: str
    data: str  # base64


@dataclass(frozen=True)
class Section:
    """One part of a report; whatever is empty is not shown."""

    title: str
    note: str = ""
    tables: Sequence[Table] = ()
    charts: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    items: Sequence[str] = field(default_factory=tuple)


def sections_of(record: Record) -> list[Section]:
    """Return what a record has to show, in reading order; sections without content are left out."""
    makers: dict[str, Sequence[Callable[[Record], Section]]] = {
        "pretrain": (_losses, _feature_scores, _speed, _events, _pictures),
        "finetune": (_scores, _classes, _confusions, _calibration, _bands, _losses, _speed, _events, _pictures, _split),
        "run": (_losses, _speed, _events, _pictures),
        "shards": (_samples, _statistics, _quarantine),
        "bundle": (_parity, _engines, _contract, _provenance),
        "map": (_pictures, _map_classes, _map_facts),
    }
    found = [make(record) for make in makers[record.kind]]
    return [each for each in found if any((each.tables, each.charts, each.pictures, each.items))]


def facts_of(record: Record) -> dict[str, str]:
    """Return what was run, on what, and the command that repeats it."""
    facts = {"where": str(record.path)}
    command = record.environment.get("command")
    if command:
        facts["command"] = shlex.join(["bandloom", *command[1:]])
    for name in ("bandloom", "commit", "python", "platform"):
        if record.environment.get(name):
            facts[name] = str(record.environment[name])
    if record.kind == "shards":
        facts |= {"made by": str(record.result.get("made_by", "?")), "split": str(record.result.get("split_rule", "?"))}
    if record.kind == "bundle":
        facts |= {"made": str(record.result.get("created", "?"))}
        facts |= {name: str(version) for name, version in record.result.get("versions", {}).items()}
    packages = record.environment.get("packages", {})
    if packages:
        facts["packages"] = ", ".join(f"{name} {version}" for name, version in packages.items())
    return facts


# ---- training


def _losses(record: Record) -> Section:
    curves = {"loss": record.curve("train", "loss")}
    charts = [line_chart(curves, "loss", log=True), line_chart({"": record.curve("train", "lr")}, "learning rate"),
              line_chart({"": record.curve("train", "grad_norm")}, "gradient norm", log=True)]  # fmt: skip
    return Section("How it went", charts=_titled(charts, ("Loss", "Learning rate", "Gradient norm")))


def _speed(record: Record) -> Section:
    pairs = (("samples_per_s", "Samples a second"), ("data_wait", "Share of time waiting for data"), ("mfu", "MFU"),
             ("memory_gb", "Memory, GB"))  # fmt: skip
    charts = [line_chart({"": record.curve("train", value)}, title) for value, title in pairs]
    return Section("How fast", charts=_titled(charts, [title for _, title in pairs]))


def _feature_scores(record: Record) -> Section:
    lines = [line for line in record.lines if line.get("kind") == "score" and "ridge" in line]
    if not lines:
        return Section("")
    floors = {name.removeprefix("floor_"): value for name, value in lines[-1].items() if name.startswith("floor_")}
    probes = {name: record.curve("score", name) for name in ("ridge", "knn")}
    bands = {
        name.removeprefix("ridge_"): record.curve("score", name) for name in lines[-1] if name.startswith("ridge_")
    }
    charts = [line_chart(probes, "accuracy of probes", floors=floors), line_chart(bands, "accuracy by bands")]
    return Section(
        "What frozen features are worth",
        "Accuracy of a ridge regression and of ten neighbours on labelled tokens, beside their floors; and by bands.",
        charts=_titled(charts, ("Probes and floors", "By bands")),
    )


def _events(record: Record) -> Section:
    lines = [line for line in record.lines if line.get("kind") == "event"]
    rows = [[line["step"], line.get("event", ""), line.get("keys", "")] for line in lines]
    return Section("What happened", tables=[Table(("step", "event", "samples"), rows)] if rows else ())


def _pictures(record: Record) -> Section:
    shown = [Picture(path.stem, base64.b64encode(path.read_bytes()).decode()) for path in record.pictures]
    if record.kind == "pretrain":  # the first and the last of a series tell it
        shown = shown[:1] + shown[1:][-1:]
    return Section("Pictures", pictures=shown)


# ---- fine-tuning


def _scores(record: Record) -> Section:
    names = ("overall", "balanced", "macro_f1", "mean_iou", "kappa", "map", "micro_f1")
    rows = record.result["rows"]
    held = [name for name in names if any(isinstance(row.get(name), int | float) for row in rows)]
    table = Table(["", *(_title(name) for name in held), "95 % interval of " + _title(held[0]) if held else ""],
                  [[row["name"].replace("_", " "), *(row.get(name) for name in held), _interval(row, held)]
                   for row in rows], strong=0)  # fmt: skip
    return Section("Scores beside their floors", "On ground held out; the first row is the model.", tables=[table])


def _interval(row: Mapping[str, Any], held: Sequence[str]) -> str:
    pair = (row.get("interval_95") or {}).get(held[0]) if held else None
    return f"{pair[0]:.3f} to {pair[1]:.3f}" if pair else ""


def _classes(record: Record) -> Section:
    classes = record.result["rows"][0].get("classes") or []
    names = [name for name in ("precision", "recall", "f1", "iou", "support") if classes and name in classes[0]]
    rows = [[each["name"], *(each[name] for name in names)] for each in classes]
    return Section("Class by class", tables=[Table(["", *map(_title, names)], rows)] if rows else ())


def _confusions(record: Record) -> Section:
    items = [f"{each['truth']} taken for {each['taken_for']}: {each['count']:,} ({each['share']:.0%} of it)"
             for each in record.result.get("top_confusions") or []]  # fmt: skip
    return Section("What is taken for what", items=items)


def _calibration(record: Record) -> Section:
    found = record.result.get("calibration") or {}
    rows = [[f"error {when} the temperature", found[when]["error"]] for when in ("before", "after") if when in found]
    rows += [["temperature", found["temperature"]]] if rows else []
    return Section("Calibration", tables=[Table(("", "value"), rows)] if rows else ())


def _bands(record: Record) -> Section:
    rows = [[each["name"], each["overall"], each["macro_f1"]] for each in record.result.get("bands") or []]
    table = Table(("bands", "accuracy", "macro-F1"), rows)
    return Section("On fewer bands", "The others absent, nothing trained again.", tables=[table] if rows else ())


def _split(record: Record) -> Section:
    split = record.result.get("split") or {}
    labels = split.get("labels") or {}
    classes = list(next(iter(labels.values()), {}))
    rows = [[name, *(held.get(name, 0) for held in labels.values())] for name in classes]
    rule = ", ".join(f"{name} {value}" for name, value in split.items() if isinstance(value, str | int | float))
    return Section("The split", rule, tables=[Table(["labels of", *labels], rows)] if rows else ())


# ---- shards


def _samples(record: Record) -> Section:
    result = record.result
    rows = [[name, count] for name, count in (result.get("splits") or {}).items()]
    rows.append(["all", result.get("samples")])
    rows.append(["with labels", result.get("labelled")])
    return Section("Samples", tables=[Table(("split", "samples"), rows)])


def _statistics(record: Record) -> Section:
    found = record.result.get("statistics") or {}
    mean, std, quantiles = found.get("mean") or {}, found.get("std") or {}, found.get("quantiles") or {}
    marks = list(next(iter(quantiles.values()), {}))
    rows = [[slot, mean[slot], std[slot], *(quantiles.get(slot, {}).get(mark) for mark in marks)]
            for slot in sorted(mean)]  # fmt: skip
    return Section("Reflectance, band by band", tables=[Table(["", "mean", "deviation", *marks], rows)] if rows else ())


def _quarantine(record: Record) -> Section:
    rows = [[line.get("key", "?"), line.get("reason", "?")] for line in record.lines]
    return Section("Quarantined", tables=[Table(("source", "reason"), rows)] if rows else ())


# ---- bundle


def _parity(record: Record) -> Section:
    rows = []
    for model in record.result.get("models") or []:
        parity = model.get("parity") or {}
        shown = ("max_abs", "argmax_agreement", "score", "torch_score", "chips", "runtime")
        rows.append([model["file"], model["precision"], *(parity.get(name) for name in shown)])
    head = ("model", "precision", "largest difference", "classes agree", "score", "torch's score", "chips", "runtime")
    return Section("Against torch, on held chips", tables=[Table(head, rows)] if rows else ())


def _engines(record: Record) -> Section:
    engines = record.result.get("engines") or []
    names = sorted({name for engine in engines for name, value in engine.items() if not isinstance(value, dict | list)})
    rows = [[engine.get(name) for name in names] for engine in engines]
    return Section("Compiled engines", tables=[Table(names, rows)] if rows else ())


def _contract(record: Record) -> Section:
    contract = record.result.get("contract") or {}
    rows = [[group["name"], f"{group['gsd_m']} m", ", ".join(group["bands"])] for group in contract.get("groups") or []]
    plain = [
        [name.replace("_", " "), value] for name, value in contract.items() if isinstance(value, str | int | float)
    ]
    return Section("What it takes", tables=[Table(("input", "sampling", "bands"), rows), Table(("", ""), plain)])


def _provenance(record: Record) -> Section:
    rows = [[name.replace("_", " "), value] for name, value in (record.result.get("provenance") or {}).items()
            if isinstance(value, str | int | float)]  # fmt: skip
    return Section("Where it comes from", tables=[Table(("", ""), rows)] if rows else ())


# ---- map


def _map_classes(record: Record) -> Section:
    assets = record.result.get("assets") or {}
    classes = next((a["classification:classes"] for a in assets.values() if "classification:classes" in a), [])
    rows = [[each["value"], each["name"], f"#{each.get('color_hint', '')}"] for each in classes]
    return Section("Classes", tables=[Table(("value", "class", "colour"), rows)] if rows else ())


def _map_facts(record: Record) -> Section:
    properties = record.result.get("properties") or {}
    rows = [[name, value] for name, value in properties.items() if isinstance(value, str | int | float)]
    return Section("The item", tables=[Table(("", ""), rows)] if rows else ())


def _titled(charts: Sequence[str], titles: Sequence[str]) -> list[str]:
    return [f"<figure><figcaption>{title}</figcaption>{chart}</figure>"
            for chart, title in zip(charts, titles, strict=True) if chart]  # fmt: skip


def _title(name: str) -> str:
    return {"overall": "accuracy", "macro_f1": "macro-F1", "mean_iou": "mean IoU", "map": "mAP", "f1": "F1",
            "iou": "IoU", "micro_f1": "micro-F1"}.get(name, name)  # fmt: skip
