"""Fused models on disk: config.json, model.safetensors and README.md; and predictions for chips with words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bandloom.classes.label_set import LabelSet
from bandloom.errors import CheckpointError, TextError
from bandloom.files.output import new_output
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.fusion.config import FusionConfig
from bandloom.finetune.fusion.context import context_vectors
from bandloom.finetune.fusion.model import FusionHead, FusionModel
from bandloom.finetune.fusion.towers import EncoderTower, ResNetTower
from bandloom.finetune.text.text_model.sources import TextSource, is_source_of, open_text
from bandloom.finetune.text.text_model.vectors import KeptVectors
from bandloom.model.checkpoint import (
    CARD,
    CONFIG,
    WEIGHTS,
    checkpoint_folder,
    encoder_from_record,
    encoder_record,
    load_weights,
    read_folder,
)
from bandloom.model.encoder import count_parameters
from bandloom.model.statistics import Statistics
from bandloom.sensors import Sensor

MODEL_TYPE = "bandloom-fusion"


@dataclass(frozen=True)
class Fused:
    """A fused model that can be asked.

    Args:
        model: in evaluation.
        sensor: whose native groups it takes.
        label_set: what its K logits mean.
        source: reads the words.
    """

    model: FusionModel
    sensor: Sensor
    label_set: LabelSet
    source: TextSource

    @torch.no_grad()
    def logits(self, groups: Mapping[int, Tensor], texts: Sequence[str]) -> Tensor:
        """Return logits ``(B, K)`` of digital numbers ``{gsd_m: (B, C, H, W)}`` and a context each (empty: none)."""
        sentences = context_vectors(texts, KeptVectors(self.source.digest), self.source)
        return self.model(dict(groups), torch.from_numpy(sentences))


def save_fusion(folder: Path, model: FusionModel, config: FusionConfig, data: TaskData, source: TextSource) -> None:
    """Write a fused model, all or nothing."""
    from safetensors.torch import save_file

    tower, head = model.tower, model.head
    own = encoder_record(tower.encoder) if isinstance(tower, EncoderTower) else {}
    record = own | {
        "model_type": MODEL_TYPE,
        "network": config.image.network,
        "sensor": data.sensor.to_dict(),
        "label_set": data.label_set.to_dict(),
        "text": source.describe() | {"pooling": config.text.pooling},
        "head": {
            "kind": head.kind,
            "image_dim": len(head.image_mean),
            "text_dim": source.dim,
            "classes": len(data.label_set),
            "width": config.width,
        },
    }
    with new_output(folder, folder=True, overwrite=True) as temporary:
        state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        save_file(state, temporary / WEIGHTS, metadata={"format": "pt"})
        (temporary / CONFIG).write_text(json.dumps(record, indent=1) + "\n")
        (temporary / CARD).write_text(_card(model, record))


def load_fusion(path: Path, text: str | None = None) -> Fused:
    """Read a fusion run, or its checkpoint.

    Args:
        path: the run, or the checkpoint's folder.
        text: the text model, where it no longer lies where the checkpoint says.

    Raises:
        CheckpointError: there is no fused model.
        TextError: the text model is not here, or is another one.
    """
    folder = checkpoint_folder(path)
    record, weights = read_folder(folder)
    if record["model_type"] != MODEL_TYPE:
        raise CheckpointError(f"{folder} holds a {record['model_type']}; run `bandloom finetune` with task: fusion.")
    try:
        sensor, said = Sensor.from_dict(record["sensor"]), record["text"]
        tower = (
            ResNetTower(
                sensor,
                Statistics.from_mapping(
                    {"mean": dict.fromkeys(sensor.slots, 0.0), "std": dict.fromkeys(sensor.slots, 1.0)}
                ),
            )
            if record["network"] == "resnet50"
            else EncoderTower(encoder_from_record(record, folder), sensor)
        )
        model = FusionModel(tower, FusionHead(**record["head"]))
        label_set = LabelSet.from_dict(record["label_set"])
    except (KeyError, TypeError, ValueError) as cause:
        raise CheckpointError(f"{folder}/config.json does not describe a fused model ({cause!r}).") from cause
    load_weights(model, weights, folder)
    source = open_text(text or said["model"], said["pooling"])
    if not is_source_of(source, said):
        raise TextError(
            f"{text or said['model']} is another text model than the one that this checkpoint was trained"
            f" with ({said['model']}); pass that one."
        )
    return Fused(model.eval(), sensor, label_set, source)


def _card(model: FusionModel, record: Mapping[str, Any]) -> str:
    said = record["text"]
    lines = [
        "---",
        "library_name: bandloom",
        "tags: [remote-sensing, multispectral, image-classification]",
        "---",
        "# Land cover from an image and words about it",
        "",
        f"Images of {record['sensor']['name']} through {record['network']}, words through {said['model']} (licence:"
        f" {said.get('licence') or 'not said'}), joined by {record['head']['kind']};"
        f" {count_parameters(model):,} parameters.",
        "",
        "Whether the words help, and whether they give the class away, is in the run's metrics.json; read its"
        " verdicts.",
        *(model.tower.encoder.licence_lines() if isinstance(model.tower, EncoderTower) else ()),
    ]
    return "\n".join(lines) + "\n"
