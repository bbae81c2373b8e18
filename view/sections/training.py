"""Report sections of every training run, and those of pretraining."""

from bandloom.view.charts import line_chart
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
    """Return loss, learning rate and gradient norm over steps."""
    curves = {"loss": record.curve("train", "loss")}
    charts = [
        line_chart(curves, "loss", log=True),
        line_chart({"": record.curve("train", "lr")}, "learning rate"),
        line_chart({"": record.curve("train", "grad_norm")}, "gradient norm", log=True),
    ]
    return Section("How it went", charts=titled(charts, ("Loss", "Learning rate", "Gradient norm")))


def speed(record: Record) -> Section:
    """Return throughput, waiting for data, MFU and memory over steps."""
    pairs = (
        ("samples_per_s", "Samples a second"),
        ("data_wait", "Share of time waiting for data"),
        ("mfu", "MFU"),
        ("memory_gb", "Memory, GB"),
    )
    charts = [line_chart({"": record.curve("train", value)}, title) for value, title in pairs]
    return Section("How fast", charts=titled(charts, [title for _, title in pairs]))


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
    charts = [line_chart(probes, "accuracy of probes", baselines=floors), line_chart(bands, "accuracy by bands")]
    return Section(
        "What frozen features are worth",
        "Accuracy of a ridge regression and of ten neighbours on labelled tokens, beside baselines; and by bands.",
        charts=titled(charts, ("Probes and baselines", "By bands")),
    )


def validation(record: Record) -> Section:
    """Return the scores on validation ground that were taken on the way."""
    names = sorted(
        {
            name
            for line in record.lines
            if line.get("kind") == "score"
            for name in line
            if name.startswith("validation_")
        }
    )
    curves = {name.removeprefix("validation_").replace("_", " "): record.curve("score", name) for name in names}
    chart = line_chart(curves, "score on validation ground")
    return Section("On validation ground, on the way", charts=titled([chart], ["Score"]))


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


def pictures(record: Record) -> Section:
    """Return the run's pictures; of a series of reconstructions the first and the last, which tell it."""
    shown = [picture(path, note=_caption(path.stem)) for path in record.pictures]
    if record.kind == "pretrain":
        shown = shown[:1] + shown[1:][-1:]
    return Section("Pictures", pictures=shown)


def _caption(stem: str) -> str:
    name, _, step = stem.partition("-")
    return CAPTIONS.get(name, name.replace("_", " ")) + (f", step {int(step):,}" if step.isdigit() else "")
