"""The verdict of a report: what a run is worth beside the strongest of its baselines, in one sentence."""

from bandloom.scores import TITLES, ScoreRow
from bandloom.view.records import Record
from bandloom.view.sections.parts import Section

MODELS = ("model", "fewer bands", "probe")  # rows of these kinds are the run's own


def worth(record: Record) -> Section:
    """Return one sentence about the first row and the baseline that scores best; empty where there is none.

    Errors of measured values, where less is better, are left to the table.
    """
    scores = record.scores
    if scores is None or scores.target is not None or scores.rows[0].kind != "model":
        return Section("What this run is worth")
    model = scores.rows[0]
    score = deciding(model)
    baselines = [row for row in scores.rows[1:] if row.kind not in MODELS and score in row.scores]
    if not baselines:
        return Section("What this run is worth")
    best = max(baselines, key=lambda row: row.scores[score])
    return Section("What this run is worth", verdict=_sentence(model, best, score))


def deciding(model: ScoreRow) -> str:
    """Return the score that a run is judged by."""
    return "macro_f1" if "macro_f1" in model.scores else model.headline[0]


def _sentence(model: ScoreRow, best: ScoreRow, score: str) -> str:
    title, name = TITLES.get(score, score), best.name.replace("_", " ")
    gap = model.scores[score] - best.scores[score]
    interval = best.margin_95.get(score)
    between = f" (95 % interval {interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
    figures = f"{title} {model.scores[score]:.3f} against {best.scores[score]:.3f}, {gap:+.3f}{between}"
    if interval is None:
        return f"Beside its strongest baseline, {name}: {figures}; no interval was drawn, so chance is not ruled out."
    if interval[0] > 0:
        return f"Better than its strongest baseline, {name}: {figures}."
    if interval[1] < 0:
        return f"Worse than its strongest baseline, {name}: {figures}; use that instead."
    return f"Not shown to differ from its strongest baseline, {name}: {figures}, which holds zero."
