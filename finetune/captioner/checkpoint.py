"""Captioner checkpoints: encoder, projector and LoRA weights; the language model stays in its own folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandloom.errors import CheckpointError, TextError
from bandloom.files.output import new_output
from bandloom.finetune.captioner.config import CaptionerConfig, LanguageConfig
from bandloom.finetune.captioner.language import open_language
from bandloom.finetune.captioner.model import Captioner
from bandloom.model.any_encoder import AnyEncoder
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
from bandloom.sensors import Sensor

MODEL_TYPE, LANGUAGE = "bandloom-captioner", "language"


@dataclass(frozen=True)
class SavedCaptioner:
    """A captioner in evaluation, and what its ``config.json`` says."""

    model: Captioner
    record: dict[str, Any]


def save_captioner(folder: Path, model: Captioner, config: CaptionerConfig, said: Mapping[str, Any]) -> None:
    """Write a captioner, all or nothing; a language model that trained as a whole is written with it.

    Args:
        folder: new, or replaced.
        model: trained.
        config: of the run.
        said: of the language model, see :func:`bandloom.finetune.captioner.language.describe`.
    """
    from safetensors.torch import save_file

    record = encoder_record(model.encoder) | {
        "model_type": MODEL_TYPE,
        "sensor": model.sensor.to_dict(),
        "chip_px": model.chip_px,
        "image_tokens": config.image_tokens,
        "most_tokens": config.most_tokens,
        "learnt": {"captions": config.captions is not None, "questions": config.questions is not None},
        "prompt": config.prompt,
        "question_prompt": config.question_prompt,
        "language": config.language.model_dump(mode="json") | {"model": LANGUAGE if model.whole else said["model"]},
        "language_model": dict(said),
    }
    own = {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
        if not name.startswith("inside.")
    }
    with new_output(folder, folder=True, overwrite=True) as temporary:
        if model.whole:
            model.language.save_pretrained(temporary / LANGUAGE, safe_serialization=True)
            model.tokenizer.save_pretrained(temporary / LANGUAGE)
        save_file(own, temporary / WEIGHTS, metadata={"format": "pt"})
        (temporary / CONFIG).write_text(json.dumps(record, indent=1) + "\n")
        (temporary / CARD).write_text(_card(record, model.encoder))


def load_captioner(path: Path, language: Path | None = None) -> SavedCaptioner:
    """Read a captioner's run, or its checkpoint.

    Args:
        path: the run, or the checkpoint's folder.
        language: the language model, where it no longer lies where the checkpoint says.

    Raises:
        CheckpointError: there is no captioner.
        TextError: the language model is not here, or is another one.
    """
    folder = checkpoint_folder(path)
    record, weights = read_folder(folder)
    if record["model_type"] != MODEL_TYPE:
        raise CheckpointError(
            f"{folder} holds a {record['model_type']}; train a captioner with `bandloom caption train`."
        )
    try:
        held = LanguageConfig.model_validate(record["language"])
        whole, said = str(held.model) == LANGUAGE, record["language_model"]
        place = folder / LANGUAGE if whole else language or held.model
        opened, tokenizer = open_language(held.with_changes(model=place, gradient_checkpointing=False))
        model = Captioner(
            encoder_from_record(record, folder),
            Sensor.from_dict(record["sensor"]),
            int(record["chip_px"]),
            opened,
            tokenizer,
            record["image_tokens"],
            record["most_tokens"],
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise CheckpointError(f"{folder}/config.json does not describe a captioner ({cause!r}).") from cause
    shape = (opened.config.model_type, int(opened.config.hidden_size), int(opened.config.vocab_size))
    if shape != (said["kind"], said["hidden_size"], said["vocabulary"]):
        raise TextError(
            f"{place} is another language model ({shape[0]}, width {shape[1]}) than the one that this"
            f" captioner was trained with ({said['kind']}, width {said['hidden_size']}); pass that one with"
            " --language."
        )
    inside = {f"inside.{name}": value for name, value in opened.state_dict().items()} if whole else {}
    load_weights(model, weights | inside, folder)
    return SavedCaptioner(model.eval(), record)


def _card(record: Mapping[str, Any], encoder: AnyEncoder) -> str:
    said = record["language_model"]
    lines = [
        "---",
        "library_name: bandloom",
        "tags: [remote-sensing, multispectral, image-to-text]",
        "---",
        "# A captioner (experimental)",
        "",
        f"Images of {record['sensor']['name']}, {record['chip_px']} pixels of 10 m, shown to {said['kind']}"
        f" ({said['model']}, licence: {said['licence']}), which is {record['language']['mode']}.",
        "",
        "What it says may be wrong and sound right. The run's metrics.json has its scores beside those of the commonest"
        " answer and of another image.",
        *encoder.licence_lines(),
    ]
    return "\n".join(lines) + "\n"
