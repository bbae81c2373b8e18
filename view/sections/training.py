"""Report sections of every training run, and those of pretraining."""

from bandloom.scores import TITLES
from bandloom.view.charts import Curve, line_chart
from bandloom.view.records import Record
from bandloom.view.sections.parts import Section, picture, plain, table, titled

CAPTIONS = {
    "confusion": "Who is taken for whom, in percent of each true class",
    "curves": "Training loss, and the score on validation ground, over steps",
    "reliability": "How far confidence can be believed, before and after the temperature",
    "worst": "Where the model was most wrong on test ground",
    "reconstruction": "What was seen, filled in and true",
}


def losses(record: Record) -> Section:
    """Return the scores on validation ground, loss, learning rate and gradient norm over steps."""
    charts = [
        line_chart(_validation(record), "score"),
        line_chart({"loss": record.curve("train", "loss")}, "loss", log=True),
        line_chart({"": record.curve("train", "lr")}, "learning rate"),
        line_chart({"": record.curve("train", "grad_norm")}, "gradient norm", log=True),
    ]
    titles = ("On validation ground", "Loss", "Learning rate", "Gradient norm")
    return Section("How it went", charts=titled(charts, titles))


def _validation(record: Record) -> dict[str, Curve]:
    """Return the curve of every score that was taken on validation ground."""
    begins = "validation_"
    scored = [line for line in record.lines if line.get("kind") == "score"]
    names = sorted({name.removeprefix(begins) for line in scored for name in line if name.startswith(begins)})
    return {TITLES.get(name, name.replace("_", " ")): record.curve("score", begins + name) for name in names}


def speed(record: Record) -> Section:
    """Return throughput, waiting for data, MFU and memory over steps."""
    measured = (
        ("samples_per_s", "Speed", "samples a second"),
        ("data_wait", "Waiting for data", "share of the time"),
        ("mfu", "Use of the card", "MFU, share of its peak"),
        ("memory_gb", "Memory", "GB"),
    )
    charts = [line_chart({"": record.curve("train", value)}, unit) for value, _, unit in measured]
    return Section("How fast", charts=titled(charts, [title for _, title, _ in measured]), folded=True)


def feature_scores(record: Record) -> Section:
    """Return what probes say of frozen features over steps, beside baselines, and by bands."""
    lines = [line for line in record.lines if line.get("kind") == "score" and "ridge" in line]
    if not lines:
        return Section("")
    floors = {name.removeprefix("floor_"): value for name, value in lines[-1].items() if name.startswith("floor_")}
    probes = {name: record.curve("score", name) for name in ("ridge", "knn")}
    bands = {
        name.removeprefix("ridge_"): record.curve("score", name) for name in lines[-1] if name.startswith("ridge_")
    }
    charts = [line_chart(probes, "accuracy", baselines=floors), line_chart(bands, "accuracy")]
    return Section(
        "What frozen features are worth",
        "Accuracy of a ridge regression and of ten neighbours on labelled tokens, beside baselines; and by bands.",
        charts=titled(charts, ("Probes and baselines", "By bands")),
    )


def events(record: Record) -> Section:
    """Return what happened besides steps: skipped batches, stops, restarts."""
    lines = [line for line in record.lines if line.get("kind") == "event"]
    rows = [[line["step"], line.get("event", ""), line.get("keys", "")] for line in lines]
    return Section("What happened", tables=table(("step", "event", "samples"), rows))


def results(record: Record) -> Section:
    """Return the numbers that a run without a page of its own ended with, such as a captioner's."""
    nested = [
        [f"{name}: {key}", value]
        for name, each in record.result.items()
        if isinstance(each, dict)
        for key, value in plain(each)
    ]
    return Section("How it ended", tables=table(("", ""), [*plain(record.result), *nested]))


def worst(record: Record) -> Section:
    """Return the test samples that a model did worst on."""
    shown = [picture(path) for path in record.pictures if path.stem == "worst"]
    return Section("Where it is most wrong", "On test ground, the largest mean loss first.", pictures=shown)


def pictures(record: Record) -> Section:
    """Return the run's pictures; of a series of reconstructions the first and the last, which tell it.

    The worst cases have a part of their own, and curves are drawn from the run's own lines.
    """
    apart = {"worst"} | ({"curves"} if record.curve("train", "loss") else set())
    shown = [picture(path, note=caption_of(path.stem)) for path in record.pictures if path.stem not in apart]
    if record.kind == "pretrain":
        shown = shown[:1] + shown[1:][-1:]
    return Section("Pictures", pictures=shown)


def caption_of(stem: str) -> str:
    """Return what a picture shows, by its file's name."""
    name, _, step = stem.partition("-")
    return CAPTIONS.get(name, name.replace("_", " ")) + (f", step {int(step):,}" if step.isdigit() else "")
