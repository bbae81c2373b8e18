"""Zero-shot classification: chips scored against class names, and names baked into an ordinary classifier."""

import csv
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.classes.taxonomy import get_taxonomy
from bandloom.command_line.console import console, logger, table
from bandloom.errors import TextError
from bandloom.files.output import new_output, one_writer
from bandloom.finetune.model.checkpoint import save_task_model
from bandloom.finetune.model.heads import ClassifyHead
from bandloom.finetune.model.task_model import TaskModel
from bandloom.finetune.text.aligned_model import Aligned
from bandloom.finetune.text.captions.words import TEMPLATES, readable, sentences
from bandloom.finetune.text.search.images import Image, images_of, vectors_of
from bandloom.finetune.text.word_scores import class_mean

# ColorBrewer's Set3 and Paired, for classes that nobody gave a colour
_COLOURS = (
    "#1f78b4",
    "#33a02c",
    "#e31a1c",
    "#ff7f00",
    "#6a3d9a",
    "#b15928",
    "#a6cee3",
    "#b2df8a",
    "#fb9a99",
    "#fdbf6f",
    "#cab2d6",
    "#ffff99",
    "#8dd3c7",
    "#bebada",
    "#fb8072",
    "#80b1d3",
)


@dataclass(frozen=True)
class Classes:
    """Classes to choose from: a label set for maps, and the sentences that stand for each class."""

    label_set: LabelSet
    prompts: dict[str, list[str]]


def choose_classes(
    aligned: Aligned, names: Sequence[str], file: str | None = None, templates: Sequence[str] = TEMPLATES
) -> Classes:
    """Return the classes that a user names.

    Args:
        aligned: whose own classes are taken where nothing is named.
        names: words; one that is a class of the model's own brings its synonyms.
        file: a label set instead, shipped or YAML with synonyms.
        templates: sentences with ``{}`` for the word.

    Raises:
        TextError: fewer than two classes, or one twice.
        LabelError: the file cannot be used.
    """
    if file is not None:
        taxonomy = get_taxonomy(file)
        words = {c.name: (readable(c.name), *c.synonyms) for c in taxonomy.classes}
        return Classes(taxonomy.label_set, {name: sentences(own, templates) for name, own in words.items()})
    own = {words.name: words for words in aligned.words}
    spelled = {spelling: name for name in own for spelling in (_spelling(readable(name)), _spelling(name))}
    asked = [name.strip() for name in names if name.strip()] or list(own)
    chosen = [spelled.get(_spelling(name), name) for name in asked]
    if len(chosen) < 2:
        raise TextError(f"{len(chosen)} classes are named; a choice needs two, such as --classes water,forest.")
    folded = [_spelling(name) for name in chosen]
    if len(set(folded)) < len(folded):
        twice = next(name for name, key in zip(asked, folded, strict=True) if folded.count(key) > 1)
        raise TextError(f"the class {twice!r} is named twice; name each once.")
    words = {name: own[name].seen if name in own else (readable(name),) for name in chosen}
    known = {land_class.name: land_class for land_class in aligned.label_set.classes} if aligned.label_set else {}
    codes = {words.code for words in known.values()}
    free = iter(code for code in range(1, 251) if code not in codes)
    classes = tuple(
        known.get(name) or LabelClass(next(free), name, _COLOURS[place % len(_COLOURS)])
        for place, name in enumerate(chosen)
    )
    return Classes(LabelSet("words", classes), {name: sentences(words[name], templates) for name in chosen})


@one_writer
def zeroshot(aligned: Aligned, classes: Classes, source: Path, out: Path) -> dict[str, Any]:
    """Classify every chip of a source by words, write a table, and score it where the source has classes of its own.

    Args:
        aligned: the model.
        classes: what to choose from.
        source: shards, a scene, or a folder of scenes.
        out: the new CSV: key, source, place, class, and a cosine a class.

    Returns:
        How many chips got each class, and the score where there is truth.
    """
    vectors = aligned.classes(classes.prompts)
    names = list(classes.prompts)
    images, rows = [], []
    for batch, image_side in vectors_of(aligned, images_of(aligned, source)):
        images += batch
        rows.append(image_side @ vectors.T)
    if not images:
        raise TextError(f"{source} holds no chip of {aligned.model.sensor.name}; pass shards or scenes of that sensor.")
    scores = np.concatenate(rows)
    said = scores.argmax(1)
    write_scores(out, images, scores, names)
    report: dict[str, Any] = {
        "chips": len(images),
        "counts": dict(zip(names, np.bincount(said, minlength=len(names)).tolist(), strict=True)),
    }
    place_of = {_spelling(name): place for place, name in enumerate(names)}
    truth = np.array([place_of.get(_spelling(image.class_name or ""), -1) for image in images])
    known = truth >= 0
    if known.any():
        present = sorted(set(truth[known].tolist()))
        report["score"] = class_mean(said[known], truth[known], present, len(names))
    return report


def _spelling(name: str) -> str:
    """Return what two spellings of one class name share: case, blanks and how accents are composed do not count."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())


def write_scores(out: Path, images: Sequence[Image], scores: np.ndarray, names: Sequence[str]) -> None:
    """Write one line a chip."""
    with new_output(out) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "source", "x_m", "y_m", "class", *names])
        for image, row in zip(images, scores, strict=True):
            writer.writerow(
                [
                    image.key,
                    image.source,
                    image.x_m,
                    image.y_m,
                    names[int(row.argmax())],
                    *(f"{value:.6f}" for value in row),
                ]
            )


def print_scores(report: Mapping[str, Any], out: Path) -> None:
    """Print what was found."""
    rows = [[name, count] for name, count in report["counts"].items()]
    console.print(table(f"{report['chips']} chips by words", ["class", "chips"], rows))
    if "score" in report:
        score = report["score"]
        console.print(
            f"accuracy {score['accuracy']:.3f}, mean over classes {score['mean_recall']:.3f}, chance"
            f" {score['chance']:.3f} ({score['samples']} chips whose class is among these)"
        )
    logger.info("scores are in %s", out)


def baked(aligned: Aligned, classes: Classes) -> TaskModel:
    """Return an ordinary classifier whose logits are the cosines of words, times the model's scale.

    Nothing is approximated: the image's vector has a constant length (see finetune/text/model.py), so a class's
    unit vector, scaled, is a row of the head's matrix.
    """
    model = aligned.model
    kind = "joined" if model.beside is not None else "linear"
    task = TaskModel(model.encoder, model.sensor, classes.label_set, "classify", model.chip_px, kind)
    head = task.head
    if not isinstance(head, ClassifyHead):
        raise TypeError("a classifier's head is a ClassifyHead")
    vectors = torch.from_numpy(aligned.classes(classes.prompts))
    if head.beside is not None and model.beside is not None:
        head.beside.load_state_dict(model.beside.state_dict())
    with torch.no_grad():
        head.norm.weight.fill_(1.0)
        head.norm.bias.zero_()
        head.classify.weight.copy_(model.scale().cpu() * vectors / np.sqrt(vectors.shape[1]))
        head.classify.bias.zero_()
    return task.eval()


def bake(aligned: Aligned, classes: Classes, run: Path, out: Path) -> Path:
    """Write a run folder whose checkpoint is the baked classifier, which ``bandloom export`` makes a bundle of."""
    provenance = {
        "aligned": str(run),
        "prompts": classes.prompts,
        "text": aligned.record["text"]["model"],
        "scale": float(aligned.model.scale().detach()),
    }
    with new_output(out, folder=True) as temporary:
        save_task_model(temporary / "checkpoint", baked(aligned, classes), provenance)
    return out
