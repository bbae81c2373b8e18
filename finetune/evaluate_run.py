"""``bandloom evaluate``: scores a finished model on labelled shards, its own test ground or all of another set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bandloom.classes.label_mapping import Mapping
from bandloom.command_line.config import HELD, Config
from bandloom.errors import CheckpointError, LabelError, OutputError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.split_choice import make_split
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.data.splits import TEST, SampleSplit, Split
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.report.record import metrics_record, score_row, write_blocks, write_evidence, write_report
from bandloom.finetune.report.results import say
from bandloom.finetune.scores.kept import KeptScorer
from bandloom.finetune.scores.levels import level_mappings, level_rows
from bandloom.finetune.tasks.registry import get_task
from bandloom.model.checkpoint import checkpoint_folder, read_folder
from bandloom.run_state.pulse import alive, spoken
from bandloom.run_state.run_folder import RunFolder
from bandloom.scores import MODEL_ROW
from bandloom.shards.read.shard_set import ShardSet
from bandloom.training.attempt import SCORING_TIMEOUT_S, Attempt

Ground = Literal["own", "all"]


class EvaluateConfig(Config):
    """``bandloom evaluate CHECKPOINT SHARDS``."""

    checkpoint: Path = Field(description="a fine-tuning run, or its checkpoint folder")
    shards: Path = Field(description="labelled shards with the model's sensor and classes")
    ground: Ground | None = Field(
        default=None,
        description="own: the test part of the split that the model was trained under; all: every label; null: own for"
        " the shards it was trained on, all for others",
    )
    bootstrap: int = Field(default=1000, ge=0, description="draws of blocks behind the intervals")
    levels: tuple[str, ...] = Field(
        default=(), description="coarser label sets to score on too, by summed probabilities, such as corine15, corine5"
    )
    batch_size: int = Field(default=16, gt=0, description="chips a forward pass")


@dataclass(frozen=True)
class Examined:
    """A model, the labels that it is scored on, and where both come from."""

    folder: Path
    model: TaskModel
    data: TaskData
    ground: Ground
    levels: tuple[Mapping, ...] = ()


def evaluate_run(config: EvaluateConfig, run: RunFolder) -> int:
    """Score a fine-tuned model and write a report into a new folder, or into one that a stopped call left.

    Returns:
        The exit code: 0 done, 75 stopped.

    Raises:
        CheckpointError: it is no fine-tuned model.
        LabelError: the shards have other classes, or no labels.
        ShardError: the shards lack the model's sensor.
        OutputError: the folder holds a finished report.
    """
    if run.markers.done():
        raise OutputError(f"{run.path} exists already: it holds a finished report; choose another --out.")
    with Attempt(run, SCORING_TIMEOUT_S) as attempt:
        examined = _prepare(config)
        examined.model.to(attempt.ranks.device)
        attempt.open(config, made_of=examined.data.shards.manifest)
        attempt.alone(lambda: _score(examined, config, run))
        attempt.code = attempt.finish()
    return attempt.code


def _prepare(wanted: EvaluateConfig) -> Examined:
    """Check everything that can be wrong before the first file is written."""
    folder, shards, ground = checkpoint_folder(wanted.checkpoint), wanted.shards, wanted.ground
    model, (record, _) = load_task_model(folder), read_folder(folder)
    config = record["provenance"].get("config", {})
    shard_set = ShardSet(shards)
    if ground is None:
        ground = "own" if config and Path(config["shards"]).resolve() == shards.resolve() else "all"
    task = get_task(model.task)
    kept = {key: config[key] for key in ("change_labels", "presence") if key in config}
    trained = FinetuneConfig(shards=shards, task=model.task, **kept)
    data = task.make_data(shard_set, trained, _split(ground, config, shard_set, model, folder), model.sensor)
    check_classes(model, data)
    return Examined(folder, model, data, ground, tuple(level_mappings(model, wanted.levels)))


def _score(examined: Examined, config: EvaluateConfig, run: RunFolder) -> None:
    model, data, scorer = examined.model, examined.data, get_task(examined.model.task).scorer
    tested = KeptScorer(scorer).look(MODEL_ROW, model, data, TEST, config.batch_size)
    told: dict[str, Any] = {
        "calibration": tested.calibration(),
        "checkpoint": str(examined.folder),
        "ground": examined.ground,
    }
    if examined.levels:
        told["levels"] = [
            score_row(row, mapping.target.label_set.names, config.bootstrap)
            for mapping, row in level_rows(model, data, TEST, list(examined.levels), config.batch_size)
        ]
    record = alive(lambda: metrics_record([tested.row], data, scorer, config.bootstrap, **told), "intervals")
    with spoken("writing the report"):
        write_report(run.path, record)
        write_blocks(run.path, [tested.row], record.split["hash"])
        write_evidence(run.path, tested, data)
    say(record, scorer)


def check_classes(model: TaskModel, data: TaskData) -> None:
    """Check that shards name the model's classes in its order.

    Raises:
        LabelError: they do not; how to translate labels is said.
    """
    if model.target is not None and data.target is not None and model.target.title != data.target.title:
        raise LabelError(
            f"the model predicts {model.target.title}; the shards {data.shards.path} hold {data.target.title}: build"
            " them again from values of that quantity in that unit."
        )
    held = data.label_set.names
    if held != model.label_set.names:
        raise LabelError(
            f"the model knows {', '.join(model.label_set.names)}; the shards {data.shards.path} are labelled with"
            f" {', '.join(held)}: translate the labels with `bandloom labels map` and build them again."
        )


def _split(ground: Ground, config: dict[str, Any], shards: ShardSet, model: TaskModel, folder: Path) -> Split:
    if ground == "all":
        return SampleSplit("all", {entry.key: TEST for entry in shards.entries if entry.sensor == model.sensor.name})
    if not config:
        raise CheckpointError(f"{folder} does not say under which split it was trained; use --ground all.")
    return make_split(
        SplitConfig.model_validate(config["split"], context=HELD), shards, get_task(model.task).data, model.sensor
    )
