"""Fine-tuned checkpoints in Hugging Face's layout, with the label set and the sensor inside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bandloom.classes.label_set import LabelSet
from bandloom.errors import CheckpointError
from bandloom.finetune.model.task_model import TaskModel
from bandloom.model.checkpoint import encoder_from_record, encoder_record, load_weights, read_folder, save_folder
from bandloom.model.encoder import count_parameters
from bandloom.sensors import Sensor
from bandloom.target import Target

MODEL_TYPE = "bandloom-task"


def save_task_model(
    folder: Path, model: TaskModel, provenance: Mapping[str, Any], *, card: str | None = None, overwrite: bool = False
) -> None:
    """Write a fine-tuned model as ``config.json``, ``model.safetensors`` and ``README.md``, whole or not at all.

    Args:
        folder: the new folder.
        model: what to save.
        provenance: plain JSON types: shards, checkpoint, config, scores, commit.
        card: the model card; None writes a short one.
        overwrite: replace an existing folder.
    """
    record = encoder_record(model.encoder) | {
        "model_type": MODEL_TYPE,
        "task": model.task,
        "chip_px": model.chip_px,
        "head": model.head_kind,
        "temperature": model.temperature,
        "thresholds": list(model.thresholds),
        "sensor": model.sensor.to_dict(),
        "label_set": model.label_set.to_dict(),
        "provenance": dict(provenance),
    }
    if model.target is not None:
        record["target"] = model.target.model_dump(mode="json")
    save_folder(folder, model, record, card or short_card(model), overwrite=overwrite)


def load_task_model(folder: Path) -> TaskModel:
    """Read a fine-tuned model.

    Raises:
        CheckpointError: the folder is absent, damaged, or holds an encoder alone.
    """
    record, weights = read_folder(folder)
    if record["model_type"] != MODEL_TYPE:
        raise CheckpointError(
            f"{folder} holds a {record['model_type']}, not a fine-tuned model; run `bandloom finetune` with it as the"
            " checkpoint first."
        )
    try:
        sensor = Sensor.from_dict(record["sensor"])
        target = Target.model_validate(record["target"]) if "target" in record else None
        label_set = LabelSet.from_dict(record["label_set"]) if target is None else target.label_set
        task, chip_px, temperature = record["task"], int(record["chip_px"]), float(record.get("temperature", 1.0))
    except (KeyError, TypeError, ValueError) as cause:
        raise CheckpointError(f"{folder}/config.json does not describe a fine-tuned model ({cause!r}).") from cause
    encoder = encoder_from_record(record, folder)
    model = TaskModel(encoder, sensor, label_set, task, chip_px, record.get("head", "linear"), target)
    load_weights(model, _with_earlier(model, weights), folder)
    model.temperature = temperature
    model.thresholds = tuple(float(threshold) for threshold in record.get("thresholds", ()))
    return model.eval()


def _with_earlier(model: TaskModel, weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a model from before a head's networks had weights, and windows a floor, what it was fitted with.

    A classifier from before there were parts beside its tokens has them at weight 0.
    """
    part = getattr(model.head, "pixel", None)
    parts = getattr(model.head, "parts", None)
    if parts is not None and not any(name.startswith("head.parts.") for name in weights):
        return {f"head.parts.{name}": value for name, value in parts.state_dict().items()} | dict(weights)
    if part is None or "head.pixel.surroundings.centre" in weights:
        return weights  # of today; what it lacks was lost
    floor = {} if "head.pixel.weights" in weights else {"head.pixel.windows.floor": torch.tensor(0.0)}
    return floor | dict(weights) | part.later(weights, "head.pixel.")


def short_card(model: TaskModel) -> str:
    """Return what every card of a fine-tuned model begins with: what goes in, what comes out."""
    label_set, sensor = model.label_set, model.sensor
    bands = "; ".join(f"{group.gsd_m} m: {', '.join(band.name for band in group.bands)}" for group in sensor.groups)
    lines = [
        "---",
        "library_name: bandloom",
        f"tags: [remote-sensing, multispectral, {_subject(model)}{model.task}]",
        "---",
        f"# {label_set.name} from {sensor.name}",
        "",
        f"Gives {model.answer.what}, on chips of {model.chip_px} x {model.chip_px} pixels of 10 m;"
        f" {count_parameters(model):,} parameters, {count_parameters(model.head):,} of them in the head.",
        "",
        f"Input: {sensor.name} ({sensor.reflectance} reflectance) at native sampling ({bands}), as digital numbers"
        " `reflectance * 10000 + 1000`, 0 no data, 65535 saturated.",
        "",
        *_answers(model),
        *_stand_ins(model),
    ]
    return "\n".join([*lines, *model.encoder.licence_lines()]) + "\n"


def _answers(model: TaskModel) -> list[str]:
    """Return the classes as a table, or what the value measures."""
    target = model.target
    if target is not None:
        return [
            f"Output: {target.name}{f' in {target.unit}' if target.unit else ''}. Of the training labels the mean was"
            f" {target.mean:g}, the deviation {target.std:g}; 96 % of them lie between {target.low:g} and"
            f" {target.high:g}."
        ]
    rows = [f"| {i} | {c.code} | {c.name} | {c.colour} |" for i, c in enumerate(model.label_set.classes)]
    return ["| index | code | class | colour |", "|---|---|---|---|", *rows]


def _stand_ins(model: TaskModel) -> list[str]:
    said = model.encoder.stand_ins(model.sensor)
    return ["", f"Bands that the encoder needs and {model.sensor.name} lacks: {said}."] if said else []


def _subject(model: TaskModel) -> str:
    return "" if model.answer.continuous else "land-cover, "
