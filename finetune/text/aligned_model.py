"""Aligned models on disk with their text vectors, and vectors of prompts and classes from them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.classes.label_set import LabelSet
from bandloom.errors import BandloomError, CheckpointError, TextError
from bandloom.files.output import new_output
from bandloom.finetune.text.captions.words import ClassWords, class_words
from bandloom.finetune.text.model import AlignModel
from bandloom.finetune.text.text_model.sources import ModelSource, TextSource, folder_digest, is_source_of, open_text
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
from bandloom.sensors import Sensor

MODEL_TYPE, TEXT, KEPT = "bandloom-align", "text", "text_vectors.safetensors"
SAME = 1 - 1e-6  # classes whose cosine is above cannot be told apart


@dataclass
class Aligned:
    """A model, the text vectors that it keeps, and where others come from.

    Args:
        model: in evaluation.
        kept: vectors by text.
        source: for texts that are not kept; None: there is no text model here.
        record: what the checkpoint's ``config.json`` says.
        digest: tells this model's vectors from any other's.
    """

    model: AlignModel
    kept: KeptVectors
    source: TextSource | None
    record: dict[str, Any]
    digest: str = ""

    @property
    def label_set(self) -> LabelSet | None:
        """The classes of the shards that it was aligned on."""
        held = self.record.get("label_set")
        return LabelSet.from_dict(held) if held else None

    @property
    def words(self) -> tuple[ClassWords, ...]:
        """The classes that it was aligned on, each with all its words: those of the run's ``captions.words``."""
        if (told := self.record.get("words")) is not None:
            return tuple(ClassWords(name, tuple(words)) for name, *words in told)
        return class_words(self.label_set) if self.label_set else ()  # of a checkpoint that keeps none

    @torch.no_grad()
    def text(self, texts: Sequence[str]) -> np.ndarray:
        """Return the unit vectors of texts in the image's space, ``(N, D)``.

        Raises:
            TextError: a text is empty, or is not kept and no text model is here.
        """
        if any(not text.strip() for text in texts):
            raise TextError("an empty text was asked for; write what to look for.")
        missing = self.kept.missing(texts)
        if missing and self.source is None:
            said = self.record["text"]["model"]
            raise TextError(
                f"the vector of {missing[0]!r} is not kept in the checkpoint, and its text model {said} is"
                " not here; pass the model's folder with --text."
            )
        device = self.model.log_scale.device
        vectors = torch.from_numpy(self.kept.of(texts, self.source)).to(device)
        return self.model.text(vectors).cpu().numpy()

    def classes(self, prompts: Mapping[str, Sequence[str]], *, apart: bool = True) -> np.ndarray:
        """Return one unit vector a class, ``(K, D)``: the mean of its prompts' vectors (CLIP's ensembles).

        Args:
            prompts: sentences by class name.
            apart: refuse classes that no image can tell apart.

        Raises:
            TextError: two classes have the same vector.
        """
        names = list(prompts)
        vectors = self.text([text for name in names for text in prompts[name]])
        ends = np.cumsum([len(prompts[name]) for name in names])
        means = np.stack([part.mean(0) for part in np.split(vectors, ends[:-1])])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        alike = np.argwhere(np.triu(means @ means.T > SAME, 1))
        if apart and len(alike):
            one, other = (names[i] for i in alike[0])
            raise TextError(
                f"the classes {one!r} and {other!r} have the same text vector, so that no image can tell"
                " them apart; use other words for one of them."
            )
        return means


def save_aligned(folder: Path, aligned: Aligned, *, overwrite: bool = False) -> None:
    """Write ``config.json``, ``model.safetensors``, kept vectors, a trained text model and a card, all or nothing."""
    from safetensors.torch import save_file

    model = aligned.model
    record = (
        encoder_record(model.encoder)
        | aligned.record
        | {
            "model_type": MODEL_TYPE,
            "sensor": model.sensor.to_dict(),
            "chip_px": model.chip_px,
            "loss": model.loss,
            "text_dim": model.text_dim,
            "projection": model.projection,
            "image": model.image_kind,
        }
    )
    with new_output(folder, folder=True, overwrite=overwrite) as temporary:
        if model.tower is not None:
            tower: Any = model.tower
            tower.save(temporary / TEXT)
            aligned.kept.digest = folder_digest(temporary / TEXT, record["text"]["pooling"])
            record["text"] = {**record["text"], "model": TEXT, "digest": aligned.kept.digest}
        own = {n: v.detach().cpu().contiguous() for n, v in model.state_dict().items() if not n.startswith("tower.")}
        save_file(own, temporary / WEIGHTS, metadata={"format": "pt"})
        aligned.kept.write(temporary / KEPT)
        (temporary / CONFIG).write_text(json.dumps(record, indent=1) + "\n")
        (temporary / CARD).write_text(_card(model, record))


def load_aligned(path: Path, text: str | None = None) -> Aligned:
    """Read an alignment run, or its checkpoint.

    Args:
        path: the run, or the checkpoint's folder.
        text: the text model, where it no longer lies where the checkpoint says.

    Raises:
        CheckpointError: there is no aligned model.
        TextError: ``text`` is another model than the one it was aligned with.
    """
    folder = checkpoint_folder(path)
    record, weights = read_folder(folder)
    if record["model_type"] != MODEL_TYPE:
        raise CheckpointError(
            f"{folder} holds a {record['model_type']}, which knows no words; run `bandloom align`"
            " with it as the checkpoint first."
        )
    try:
        sensor, said = Sensor.from_dict(record["sensor"]), record["text"]
        model = AlignModel(
            encoder_from_record(record, folder),
            sensor,
            int(record["chip_px"]),
            record["text_dim"],
            record["projection"],
            record["loss"],
            image=record.get("image", "tokens"),
        )
    except (KeyError, TypeError, ValueError) as cause:
        raise CheckpointError(f"{folder}/config.json does not describe an aligned model ({cause!r}).") from cause
    load_weights(model, weights, folder)
    digest = folder_digest(folder, "")
    kept = KeptVectors.read(folder / KEPT, said["digest"])
    return Aligned(model.eval(), kept, _source(folder, said, text), record, digest)


def _source(folder: Path, said: Mapping[str, Any], text: str | None) -> TextSource | None:
    if said["model"] == TEXT and text is None:
        return ModelSource(folder / TEXT, said["pooling"], said.get("licence", ""))
    try:
        source = open_text(text or said["model"], said["pooling"])
    except BandloomError:
        if text is not None:
            raise
        return None  # kept vectors may be all that is asked for
    if not is_source_of(source, said):
        if text is None:
            return None
        raise TextError(
            f"--text {text} is another text model than the one that this checkpoint was aligned with"
            f" ({said['model']}); pass that one."
        )
    return source


def _card(model: AlignModel, record: Mapping[str, Any]) -> str:
    said = record["text"]
    lines = [
        "---",
        "library_name: bandloom",
        "tags: [remote-sensing, multispectral, zero-shot-image-classification]",
        "---",
        "# A bandloom encoder aligned with language",
        "",
        f"Images of {model.sensor.name}, {model.chip_px} pixels of 10 m; texts by {said['model']} (pooling"
        f" {said['pooling']}, licence: {said.get('licence') or 'not said'}), {model.projection} projection into the"
        f" image's {model.image_dim} numbers; {count_parameters(model):,} parameters.",
        "",
        "Scores are cosines. What it says of classes that it was not trained on is in the run's metrics.json, beside"
        " chance; read it before you trust a new word.",
        "",
        "## Provenance",
        "",
        *(f"- {key}: {value}" for key, value in record.get("provenance", {}).items()),
        *model.encoder.licence_lines(),
    ]
    return "\n".join(lines) + "\n"
