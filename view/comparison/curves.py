"""Curves of several runs on shared axes: losses, learning rates, scores on the way, speed."""

from bandloom.scores import TITLES
from bandloom.view.charts import COLOURS, line_chart
from bandloom.view.comparison.compared import Compared
from bandloom.view.sections.parts import Section, titled

CURVES = (
    ("train", "loss", "Loss", "loss", True),
    ("train", "lr", "Learning rate", "learning rate", False),
    ("train", "grad_norm", "Gradient norm", "gradient norm", True),
    ("score", "ridge", "Frozen features, ridge regression", "accuracy", False),
    ("score", "knn", "Frozen features, ten neighbours", "accuracy", False),
    ("train", "samples_per_s", "Speed", "samples a second", False),
)


def sections(group: Compared) -> list[Section]:
    """Return one chart a measure that at least two of them have; what only one has is named."""
    measured = {
        (kind, key)
        for record in group.records
        for line in record.lines
        for kind, key in ((line.get("kind"), key) for key in line)
        if key.startswith("validation_")
    }
    wanted = [
        *CURVES[:1],
        *(
            (str(kind), key, f"Validation, {_words(key)}", _words(key), False)
            for kind, key in sorted(measured, key=lambda pair: pair[1])
        ),
        *CURVES[1:],
    ]
    charts, titles, alone = [], [], []
    for kind, key, title, unit, log in wanted:
        curves = {name: record.curve(kind, key) for name, record in zip(group.names, group.records, strict=True)}
        having = [name for name, curve in curves.items() if curve]
        if len(having) > 1:
            charts.append(line_chart(curves, unit, log=log, colours=dict(zip(curves, COLOURS * 9, strict=False))))
            titles.append(title)
        alone += [f"{title.lower()} ({having[0]})"] if len(having) == 1 else []
    note = f"Only one has: {', '.join(alone)}." if alone and charts else ""
    return [Section("Curves, on shared axes", note, charts=titled(charts, titles))]


def _words(key: str) -> str:
    name = key.removeprefix("validation_")
    return TITLES.get(name, name.replace("_", " "))
