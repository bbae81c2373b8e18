"""``bandloom evaluate``: scores a finished model on labelled shards, its own test ground or all of another set."""

from pathlib import Path
from typing import Any, Literal

from bandloom.errors import CheckpointError, LabelError
from bandloom.finetune.config import FinetuneConfig
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.data.split_choice import make_split
from bandloom.finetune.data.split_config import SplitConfig
from bandloom.finetune.data.splits import TEST, SampleSplit, Split
from bandloom.finetune.model.checkpoint import load_task_model
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.report.record import metrics_record, write_blocks, write_evidence, write_report
from bandloom.finetune.report.results import say
from bandloom.finetune.tasks.registry import get_task
from bandloom.model.checkpoint import checkpoint_folder, read_folder
from bandloom.output import new_output
from bandloom.scores import MODEL_ROW, ScoreRecord
from bandloom.shards.read.shard_set import ShardSet

Ground = Literal["own", "all"]


def evaluate_run(
    checkpoint: Path,
    shards: Path,
    out: Path,
    *,
    ground: Ground | None = None,
    bootstrap: int = 1000,
    batch_size: int = 16,
) -> ScoreRecord:
    """Score a fine-tuned model and write a report into a new folder; returns what ``metrics.json`` holds.

    Args:
        checkpoint: a fine-tuning run, or its checkpoint folder.
        shards: labelled shards with the model's sensor and classes.
        out: the new folder.
        ground: ``own``, the test part of the split that the model was trained under; ``all``, every label. None takes
            ``own`` for the shards it was trained on and ``all`` for others.
        bootstrap: draws of blocks behind the intervals.
        batch_size: chips a forward pass.

    Raises:
        CheckpointError: it is no fine-tuned model.
        LabelError: the shards have other classes, or no labels.
        ShardError: the shards lack the model's sensor.
        OutputError: ``out`` exists.
    """
    folder = checkpoint_folder(checkpoint)
    model, (record, _) = load_task_model(folder), read_folder(folder)
    config = record["provenance"].get("config", {})
    shard_set = ShardSet(shards)
    if ground is None:
        ground = "own" if config and Path(config["shards"]).resolve() == shards.resolve() else "all"
    task = get_task(model.task)
    kept = {key: config[key] for key in ("change_labels", "presence") if key in config}
    wanted = FinetuneConfig(shards=shards, task=model.task, **kept)
    data = task.make_data(shard_set, wanted, _split(ground, config, shard_set, model, folder), model.sensor)
    check_classes(model, data)
    tested = task.scorer.look(MODEL_ROW, model, data, TEST, batch_size)
    found = metrics_record(
        [tested.row],
        data,
        task.scorer,
        bootstrap,
        calibration=tested.calibration(),
        checkpoint=str(folder),
        ground=ground,
    )
    with new_output(out, folder=True) as temporary:
        write_report(temporary, found)
        write_blocks(temporary, [tested.row], found.split["hash"])
        write_evidence(temporary, task.scorer, tested, data)
    say(found, task.scorer)
    return found


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
    return make_split(SplitConfig(**config["split"]), shards, get_task(model.task).data, model.sensor)
