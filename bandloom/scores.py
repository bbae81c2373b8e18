"""The score record behind ``metrics.json``: what was scored, on which ground, and how well."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bandloom.command_line.config import Config
from bandloom.errors import RunFolderError
from bandloom.files.output import write_json
from bandloom.target import Target

SCHEMA_VERSION: Literal[2] = 2  # 1: scores beside a row's other keys, no kind, no seeds of baselines
METRICS = "metrics.json"
IN_UNIT = ("rmse", "mae", "bias")  # scores in a quantity's unit, which may make them as small or large as it likes
MODEL_ROW, RANDOM_ROW = "fine-tuned", "same network, random weights"

RowKind = Literal[
    "model",
    "random weights",
    "fewer bands",
    "trivial",
    "classic",
    "network",
    "public encoder",
    "probe",
    "fusion",
    "not stated",
]
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
    "average_precision": "AP",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R2",
}


class ClassScores(Config):
    """One class of a row: how many labels it has, and its scores; None where they cannot be told."""

    name: str
    support: int = Field(ge=0, description="labels of the class in the test")
    scores: dict[str, float | None]


class ScoreRow(Config):
    """One thing that was scored: the model, or a baseline on the same labels."""

    name: str
    kind: RowKind = Field(description="the model itself, or what kind of baseline")
    seeds: tuple[int, ...] = Field(default=(), description="that it was drawn or trained from")
    scores: dict[str, float] = Field(description="by name, the most telling first")
    interval_95: dict[str, tuple[float, float]] = Field(default={}, description="by drawing blocks, by score")
    margin_95: dict[str, tuple[float, float]] = Field(default={}, description="how far the first row is ahead")
    over_image_95: tuple[float, float] | None = Field(default=None, description="fusion: ahead of the image alone")
    by_seed: dict[str, tuple[float, ...]] = Field(default={}, description="each seed's own score")
    classes: tuple[ClassScores, ...] = ()
    blocks: int = Field(ge=0, description="blocks of ground that the labels lie in")
    fitted_on: int = Field(ge=0, description="labels it was fitted on")
    scored_on: int = Field(ge=0, description="labels it was scored on")
    seconds: float = 0.0

    @property
    def headline(self) -> tuple[str, float]:
        """The name and value of its first score."""
        return next(iter(self.scores.items()))


class SeedSummary(Config):
    """What a row scores over trainings from several seeds; the deviation is that of a sample (n - 1)."""

    name: str
    seeds: tuple[int, ...]
    mean: dict[str, float]
    deviation: dict[str, float]
    by_seed: dict[str, tuple[float, ...]]


class ScoreRecord(Config):
    """``metrics.json`` of a fine-tuning, a probe, baselines, an evaluation or a fusion."""

    schema_version: Literal[2] = SCHEMA_VERSION
    task: str
    sensor: str
    label_set: dict[str, Any] = Field(description="classes by index: code, name and colour")
    target: Target | None = Field(default=None, description="regression: the quantity whose unit errors have")
    split: dict[str, Any] = Field(description="which ground tested, its hash, and labels by role and class")
    rows: tuple[ScoreRow, ...] = Field(min_length=1, description="the model first, then its baselines")
    confusion: tuple[tuple[int, ...], ...] | None = Field(default=None, description="of the first row")
    top_confusions: tuple[dict[str, Any], ...] = ()
    calibration: dict[str, Any] | None = Field(default=None, description="before and after the temperature")
    validation: ScoreRow | None = None
    bands: tuple[ScoreRow, ...] = Field(default=(), description="the model on fewer bands, all of them first")
    over_seeds: tuple[SeedSummary, ...] = ()
    leakage: dict[str, Any] | None = Field(default=None, description="what a random split gives away")
    mode: str | None = None
    parameters: dict[str, int] | None = None
    seed: int | None = None
    steps: int | None = None
    chip_px: int | None = None
    checkpoint: str | None = Field(default=None, description="evaluate: the model's folder")
    ground: str | None = Field(default=None, description="evaluate: own or all")
    unit: str | None = Field(default=None, description="probe: what has a label of its own")
    levels: tuple[ScoreRow, ...] = Field(
        default=(), description="evaluate: on coarser label sets, by summed probabilities and by the likeliest class"
    )
    few_shot: tuple[dict[str, Any], ...] = ()
    gains: tuple[dict[str, Any], ...] = Field(default=(), description="fusion: what words add")
    leaks: dict[str, Any] | None = Field(default=None, description="fusion: whether words give the class away")
    verdicts: tuple[str, ...] = Field(default=(), description="fusion: what the controls allow to be said")
    text: dict[str, Any] | None = None
    image: dict[str, Any] | None = None
    context: dict[str, Any] | None = None

    def row(self, name: str) -> ScoreRow:
        """Return the row of that name.

        Raises:
            KeyError: there is none.
        """
        return {row.name: row for row in self.rows}[name]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; what is empty is left out."""
        return {"schema_version": self.schema_version, **self.model_dump(mode="json", exclude_defaults=True)}


def figure(score: str, value: float, digits: int = 3, sign: str = "") -> str:
    """Return a score as text: ``digits`` after the point, and three that count where the unit makes it less than 0.1.

    Args:
        score: its name in the record.
        value: of it, or a difference of two.
        digits: after the point.
        sign: ``+`` writes the sign of what is more than 0 too.
    """
    small = score in IN_UNIT and 0 < abs(value) < 0.1
    return f"{value:{sign}.3g}" if small else f"{value:{sign}.{digits}f}"


def write_scores(folder: Path, record: ScoreRecord) -> None:
    """Write ``metrics.json`` into a run folder."""
    write_json(folder / METRICS, record.to_dict())


def read_scores(path: Path) -> ScoreRecord:
    """Read a ``metrics.json`` of scored rows, of this version or of an earlier one.

    Raises:
        RunFolderError: it is damaged, of another stage, or a newer version wrote it.
    """
    try:
        record = json.loads(path.read_text())
        return scores_of(record)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as cause:
        why = cause.errors()[0]["msg"] if isinstance(cause, ValidationError) else cause
        raise RunFolderError(f"{path} cannot be read as scores ({why}); restore it, or run its stage again.") from cause


def scores_of(record: Mapping[str, Any]) -> ScoreRecord:
    """Return the record of a ``metrics.json``'s content; what earlier versions wrote is brought to this form."""
    return ScoreRecord.model_validate(record if "schema_version" in record else _from_unversioned(record))


def _from_unversioned(unversioned: Mapping[str, Any]) -> dict[str, Any]:
    """Return this version's form of one whose rows hold their scores beside their other keys."""
    record = {key: value for key, value in unversioned.items() if key not in ("schema", "seeds")}
    record["rows"] = [_row(row) for row in unversioned["rows"]]
    record["bands"] = [_row(row) for row in unversioned.get("bands") or ()]
    record["validation"] = _row(unversioned["validation"]) if unversioned.get("validation") else None
    if isinstance(unversioned.get("seeds"), list):  # of a fusion it is their number, and each row has its own scores
        record["over_seeds"] = unversioned["seeds"]
    return record


_ROW_KEYS = ("name", "interval_95", "margin_95", "over_image_95", "blocks", "fitted_on", "scored_on", "seconds")
_CLASS_KEYS = ("name", "support")
_KINDS: dict[str, RowKind] = {
    MODEL_ROW: "model",
    RANDOM_ROW: "random weights",
    "majority": "trivial",
    "base_rates": "trivial",
}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    left_out = (*_ROW_KEYS, "classes", "support", "seeds")
    held = {key: row[key] for key in _ROW_KEYS if key in row}
    return {
        **held,
        "kind": _KINDS.get(row["name"], "not stated"),
        "scores": {key: value for key, value in row.items() if key not in left_out},
        "by_seed": {"macro_f1": row["seeds"]} if row.get("seeds") else {},
        "classes": [
            {
                **{key: land_class[key] for key in _CLASS_KEYS},
                "scores": {key: value for key, value in land_class.items() if key not in _CLASS_KEYS},
            }
            for land_class in row.get("classes", ())
        ],
    }
