"""Encoder checkpoints in Hugging Face's layout: ``config.json``, ``model.safetensors`` and ``README.md``."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from bandloom.errors import CheckpointError
from bandloom.files.output import new_output
from bandloom.model.any_encoder import AnyEncoder
from bandloom.model.encoder import Encoder, EncoderConfig, count_parameters
from bandloom.model.finite_weights import require_finite
from bandloom.model.pull import local_folder
from bandloom.model.statistics import Statistics
from bandloom.public_encoders.load import is_public, public_from_record, read_public
from bandloom.sensors import Sensor

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
TEACHER = "teacher.safetensors"  # statistics of a teacher's tokens, of an encoder that was taught


def save_encoder(
    folder: Path,
    encoder: AnyEncoder,
    sensors: Sequence[Sensor],
    provenance: Mapping[str, Any],
    *,
    overwrite: bool = False,
    teacher: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write an encoder as a folder in Hugging Face's layout, whole or not at all.

    Args:
        folder: the new folder.
        encoder: what to save.
        sensors: the sensors it was trained on, for the card and for checks downstream.
        provenance: plain JSON types: shards, config, seed, steps, commit.
        overwrite: replace an existing folder.
        teacher: statistics that its teacher's tokens were whitened by, where it had one.
    """
    record = encoder_record(encoder) | {
        "model_type": "bandloom-encoder",
        "sensors": [sensor.to_dict() for sensor in sensors],
        "provenance": dict(provenance),
    }
    more = {TEACHER: teacher} if teacher else {}
    save_folder(folder, encoder, record, _card(encoder, sensors, provenance), overwrite=overwrite, more=more)


def load_encoder(folder: Path) -> AnyEncoder:
    """Read the encoder of any bandloom checkpoint, a fine-tuned one included, or of a public encoder's folder.

    Raises:
        CheckpointError: the folder is absent, incomplete, or neither a bandloom checkpoint nor a known public encoder.
    """
    folder = local_folder(folder)
    if is_public(folder):
        return read_public(folder)
    record, weights = read_folder(folder)
    encoder = encoder_from_record(record, folder)
    prefix = "" if record["model_type"] == "bandloom-encoder" else "encoder."
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    load_weights(encoder, own, folder)
    return encoder


def encoder_digest(encoder: AnyEncoder) -> str:
    """Return 16 hexadecimal digits that tell an encoder's weights from any other's."""
    told = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        told.update(name.encode())
        told.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return told.hexdigest()[:16]


def encoder_record(encoder: AnyEncoder) -> dict[str, Any]:
    """Return what ``config.json`` says of an encoder."""
    return encoder.to_record()


def encoder_from_record(record: Mapping[str, Any], folder: Path) -> AnyEncoder:
    """Build an encoder with random weights from what ``config.json`` says."""
    try:
        statistics = Statistics(**record["statistics"])
        if "family" in record["encoder"]:
            return public_from_record(record["encoder"], statistics)
        encoder = Encoder(EncoderConfig(**record["encoder"]), statistics)
        encoder.owe(record.get("encoder_licence"))
        return encoder
    except (KeyError, TypeError, ValidationError) as cause:
        raise CheckpointError(f"{folder / CONFIG} does not describe a bandloom encoder ({cause}).") from cause


def save_folder(
    folder: Path,
    model: nn.Module,
    record: Mapping[str, Any],
    card: str,
    *,
    overwrite: bool = False,
    more: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
) -> None:
    """Write ``config.json``, ``model.safetensors``, the card and ``more`` tensors by file name, atomically."""
    from safetensors.torch import save_file

    with new_output(folder, folder=True, overwrite=overwrite) as temporary:
        for name, tensors in ({WEIGHTS: model.state_dict()} | dict(more or {})).items():
            held = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(held, temporary / name, metadata={"format": "pt"})
        (temporary / CONFIG).write_text(json.dumps(record, indent=1) + "\n")
        (temporary / CARD).write_text(card)


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the config and the weights of a checkpoint folder.

    Raises:
        CheckpointError: a file is missing or cannot be read, with what to pass instead.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    record = read_record(folder)
    try:
        return record, load_file(folder / WEIGHTS)
    except (ValueError, OSError, SafetensorError) as cause:
        raise _damaged(folder, cause) from cause


def read_record(folder: Path) -> dict[str, Any]:
    """Return the config of a checkpoint folder that holds weights too.

    Raises:
        CheckpointError: a file is missing or cannot be read, with what to pass instead.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} is no checkpoint: it has no {name}; pass a folder that holds {CONFIG} and {WEIGHTS}, such as"
                " RUN/checkpoint."
            )
    try:
        record = json.loads((folder / CONFIG).read_text())
    except (ValueError, OSError) as cause:
        raise _damaged(folder, cause) from cause
    if not isinstance(record, dict) or not str(record.get("model_type", "")).startswith("bandloom"):
        raise CheckpointError(
            f"{folder / CONFIG} is not of this project (no bandloom model_type); pass another folder."
        )
    return record


def checkpoint_folder(run: Path) -> Path:
    """Return a run's finished checkpoint when a run folder is given, or the path itself, or where hf://... lies.

    Raises:
        CheckpointError: the address on a hub was not pulled yet.
    """
    run = local_folder(run)
    return run / "checkpoint" if (run / "checkpoint").is_dir() else run


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Load every weight by name; nothing may be missing, left over, of another shape or no finite number.

    Raises:
        CheckpointError: the first name that does not fit.
    """
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(own.keys() | given.keys()):
        if own.get(name) != given.get(name):
            raise CheckpointError(
                f"the checkpoint {folder} does not fit its own config: {name} should be {own.get(name, 'absent')},"
                f" is {given.get(name, 'absent')}; the folder was edited or mixed from two, use another."
            )
    require_finite(weights, folder)
    model.load_state_dict(dict(weights))


def _damaged(folder: Path, cause: Exception) -> CheckpointError:
    return CheckpointError(f"the checkpoint {folder} is damaged ({cause}); use another or train again.")


def _card(encoder: AnyEncoder, sensors: Sequence[Sensor], provenance: Mapping[str, Any]) -> str:
    config = encoder.config
    lines = [
        "---",
        "library_name: bandloom",
        f"tags: [{', '.join(('remote-sensing', 'multispectral', *encoder.card_tags()))}]",
        "---",
        f"# {encoder.title()}",
        "",
        f"A vision transformer over tokens of {config.token_m} m of ground, {encoder.sampling()}:"
        f" width {config.embed_dim}, depth {config.depth}, {count_parameters(encoder):,} parameters.",
        "",
        f"Trained on: {', '.join(sensor.name for sensor in sensors) or encoder.trained_on()}. Input: digital numbers"
        " `reflectance * 10000 + 1000`, 0 no data.",
        "",
        "| slot | mean reflectance | deviation |",
        "|---|---|---|",
        *(
            f"| {s} | {encoder.statistics.mean[s]:.4f} | {encoder.statistics.std[s]:.4f} |"
            for s in encoder.statistics.mean
        ),
        "",
        "## Provenance",
        "",
        *(f"- {key}: {value}" for key, value in provenance.items()),
        *encoder.licence_lines(),
    ]
    return "\n".join(lines) + "\n"
