"""Report sections of a fine-tuning: scores beside baselines, confusions, calibration, fewer bands, the split."""

from bandloom.scores import TITLES, ScoreRecord, ScoreRow, figure
from bandloom.view.records import Record
from bandloom.view.sections.parts import Section, table
from bandloom.view.sections.worth import deciding


def title(name: str) -> str:
    """Return what people call a score."""
    return TITLES.get(name, name)


def scores(record: Record) -> Section:
    """Return every row's scores, the model's first, with intervals of the deciding score and of its differences."""
    rows = _scores(record).rows
    held, score = list(rows[0].scores), deciding(rows[0])
    head = ["", "kind", *map(title, held), f"95 % interval of {title(score)}"]
    cells = [
        [row.name.replace("_", " "), row.kind, *(row.scores.get(name) for name in held), _interval(row, score)]
        for row in rows
    ]
    if any(score in row.margin_95 for row in rows):
        head.append(f"{title(score)}, first row less this one")
        cells = [[*line, _less(rows[0], row, score)] for line, row in zip(cells, rows, strict=True)]
    note = "On ground held out; the first row is the model." if record.kind == "finetune" else "On ground held out."
    return Section(
        "Scores beside their baselines",
        note,
        tables=table(head, cells, strong=0 if record.kind == "finetune" else None),
    )


def _scores(record: Record) -> ScoreRecord:
    if record.scores is None:
        raise ValueError("it holds no scored rows")
    return record.scores


def _interval(row: ScoreRow, score: str) -> str:
    pair = row.interval_95.get(score)
    return " to ".join(figure(score, bound) for bound in pair or ())


def _less(first: ScoreRow, row: ScoreRow, score: str) -> str:
    """Return the first row's score less that of another, and the paired interval of it."""
    pair = row.margin_95.get(score)
    gap = figure(score, first.scores[score] - row.scores[score], sign="+")
    return f"{gap} ({' to '.join(figure(score, bound, sign='+') for bound in pair)})" if pair else ""


def seeds(record: Record) -> Section:
    """Return what the scores are over trainings from several seeds."""
    summaries = _scores(record).over_seeds
    held = list(summaries[0].mean) if summaries else []
    rows = [
        [row.name, *(f"{figure(name, row.mean[name])} ± {figure(name, row.deviation[name])}" for name in held)]
        for row in summaries
    ]
    note = "Mean and deviation over trainings from other weights and order, on the same ground."
    return Section("Over seeds", note, tables=table(["", *map(title, held)], rows))


def verdicts(record: Record) -> Section:
    """Return, of image and context together, what the controls allow to be said, and what gives a class away."""
    scores = _scores(record)
    leaks = (scores.leaks or {}).get("warnings") or []
    return Section("What the controls allow", items=[*scores.verdicts, *map(str, leaks)])


def classes(record: Record) -> Section:
    """Return the model's scores class by class."""
    by_class = _scores(record).rows[0].classes
    names = list(by_class[0].scores) if by_class else []
    rows = [[row.name, *(row.scores[name] for name in names), row.support] for row in by_class]
    return Section("Class by class", tables=table(["", *map(title, names), "support"], rows))


def confusions(record: Record) -> Section:
    """Return the commonest mistakes."""
    items = [
        f"{pair['truth']} taken for {pair['taken_for']}: {pair['count']:,} ({pair['share']:.0%} of it)"
        for pair in _scores(record).top_confusions
    ]
    return Section("What is taken for what", items=items)


def calibration(record: Record) -> Section:
    """Return the calibration error before and after the temperature."""
    calibrated = _scores(record).calibration or {}
    rows = [
        [f"error {when} the temperature", calibrated[when]["error"]]
        for when in ("before", "after")
        if when in calibrated
    ]
    rows += [["temperature", calibrated["temperature"]]] if rows else []
    return Section("Calibration", tables=table(("", "value"), rows))


def bands(record: Record) -> Section:
    """Return the scores with only some of the bands present."""
    by_subset = _scores(record).bands
    held = list(by_subset[0].scores) if by_subset else []
    rows = [["all" if row.kind == "model" else row.name, *(row.scores.get(name) for name in held)] for row in by_subset]
    return Section(
        "On fewer bands",
        "The others absent, nothing trained again.",
        tables=table(["bands", *map(title, held)], rows),
    )


def split(record: Record) -> Section:
    """Return which ground tested, and how many labels each role had."""
    told = _scores(record).split
    labels = told.get("labels") or {}
    names = list(next(iter(labels.values()), {}))
    rows = [[name, *(held.get(name, 0) for held in labels.values())] for name in names]
    rule = ", ".join(f"{name} {value}" for name, value in told.items() if isinstance(value, str | int | float))
    return Section("The split", rule, tables=table(["labels of", *labels], rows), folded=True)
