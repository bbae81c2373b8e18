"""Report of an alignment run: word scores, few-shot and retrieval, each beside chance, on test ground."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bandloom.command_line.console import table
from bandloom.draws.evenly import evenly
from bandloom.finetune.data.splits import TRAIN
from bandloom.finetune.text.aligned_model import Aligned
from bandloom.finetune.text.captions.words import sentences
from bandloom.finetune.text.few_shot import SHOTS, choose, few_shot
from bandloom.finetune.text.retrieval import retrieval
from bandloom.finetune.text.samples import image_batches
from bandloom.finetune.text.word_scores import word_accuracies
from bandloom.shards.read.shard_set import ShardSet

if TYPE_CHECKING:
    from bandloom.finetune.text.setting import Alignment

BATCH = 32
FEW_POOL = 30  # samples a class that the few are chosen from
MOST_QUERIES = 2000


@torch.no_grad()
def image_vectors(aligned: Aligned, shards: ShardSet, indices: np.ndarray) -> np.ndarray:
    """Return the unit vectors of samples, ``(N, D)`` float32."""
    device = aligned.model.log_scale.device
    parts = [
        aligned.model.image({gsd: group.to(device) for gsd, group in groups.items()}).cpu().numpy()
        for groups in image_batches(shards, indices.tolist(), aligned.model.chip_px, BATCH)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, aligned.model.image_dim), np.float32)


def alignment_report(alignment: "Alignment", aligned: Aligned, indices: np.ndarray) -> dict[str, Any]:
    """Return what ``metrics.json`` holds."""
    image = image_vectors(aligned, alignment.shards, indices)
    numbers = _numbers(alignment, aligned, indices, image) if len(alignment.captions.words) > 1 else {}
    return {
        "schema": 1,
        "three_numbers": numbers,
        "few_shot": _few_shot(alignment, aligned, indices, image) if len(alignment.captions.words) > 1 else [],
        "retrieval": _retrieval(alignment, aligned, indices, image),
        "test_samples": len(indices),
        "captions": {"texts": len(alignment.captions.texts), "sources": list(alignment.config.captions.sources)},
        "held_out": [alignment.captions.words[i].name for i in alignment.held_out],
        "text": aligned.record["text"],
        "seed": alignment.config.trainer.seed,
    }


def seen_score(alignment: "Alignment", aligned: Aligned, indices: np.ndarray) -> float | None:
    """Return the mean recall of seen classes by their training words, or None without such samples."""
    numbers = _numbers(alignment, aligned, indices, image_vectors(aligned, alignment.shards, indices))
    return numbers["seen classes, training words"].get("mean_recall")


def report_table(report: dict[str, Any]) -> Any:
    """Return the console's table of a report."""
    rows = [
        [name, row["classes"], row["samples"], f"{row['mean_recall']:.3f}", f"{row['chance']:.3f}"]
        for name, row in report["three_numbers"].items()
        if "mean_recall" in row
    ]
    rows += [
        [
            f"{name}, {key.replace('_', ' ')}",
            row["queries"],
            row["gallery"],
            f"{row[key]:.3f}",
            f"{row[key + '_chance']:.3f}",
        ]
        for name, row in report["retrieval"].items()
        for key in ("recall_at_1", "recall_at_5", "recall_at_10", "map_at_100")
        if key in row
    ]
    rows += [
        [f"{few['shots']} labels a class, {name}", "", "", f"{few[name]:.3f}", f"{few['chance']:.3f}"]
        for few in report["few_shot"]
        for name in ("from words", "from random")
    ]
    return table("What it knows of words (test ground)", ["", "classes or queries", "samples", "score", "chance"], rows)


def _numbers(alignment: "Alignment", aligned: Aligned, indices: np.ndarray, image: np.ndarray) -> dict[str, Any]:
    captions = alignment.captions
    classes = np.array([captions.class_of.get(alignment.shards.entries[int(i)].key, -1) for i in indices])
    vectors = partial(aligned.classes, apart=False)  # a text model that learnt nothing yet scores like chance
    keys = [alignment.shards.entries[int(i)].key for i in alignment.of(TRAIN)]
    trained = sorted({captions.class_of[key] for key in keys if key in captions.class_of})
    return word_accuracies(
        image, classes, captions.words, trained, alignment.held_out, vectors, alignment.config.captions.templates
    )


def _few_shot(alignment: "Alignment", aligned: Aligned, indices: np.ndarray, image: np.ndarray) -> list[dict[str, Any]]:
    """Return the few-shot curve over all classes; labels of held-out classes are used here alone."""
    captions, entries = alignment.captions, alignment.shards.entries
    truth = np.array([captions.class_of.get(entries[int(i)].key, -1) for i in indices])
    pool = np.array(
        [i for i in alignment.indices[alignment.roles == TRAIN] if entries[int(i)].key in captions.class_of]
    )
    labels = np.array([captions.class_of[entries[int(i)].key] for i in pool], np.int64)
    classes = np.intersect1d(truth[truth >= 0], labels)
    if len(classes) < 2:
        return []
    rng = np.random.default_rng(alignment.config.trainer.seed)
    few = choose(labels, FEW_POOL, rng)
    few = few[np.isin(labels[few], classes)]
    prompts = {
        captions.words[k].name: sentences(captions.words[k].seen, alignment.config.captions.templates) for k in classes
    }
    rows = np.isin(truth, classes)
    return few_shot(
        image_vectors(aligned, alignment.shards, pool[few]),
        np.searchsorted(classes, labels[few]),
        image[rows],
        np.searchsorted(classes, truth[rows]),
        aligned.classes(prompts, apart=False),
        SHOTS,
        seed=alignment.config.trainer.seed,
    )


def _retrieval(alignment: "Alignment", aligned: Aligned, indices: np.ndarray, image: np.ndarray) -> dict[str, Any]:
    """Return caption-to-image, image-to-caption, and class-to-image retrieval among classes that training saw."""
    captions = alignment.captions
    keys = [alignment.shards.entries[int(i)].key for i in indices]
    rows = [row for row, key in enumerate(keys) if key in captions.of_key]
    rows = [row for row in rows if not captions.shows(keys[row], alignment.held_out)]
    rows = [rows[place] for place in evenly(len(rows), MOST_QUERIES)]  # not the first scenes alone
    if not rows:
        return {}
    numbers = sorted({int(captions.of_key[keys[row]][0]) for row in rows})
    text = aligned.text([captions.texts[number] for number in numbers])
    relevant = np.stack([np.isin(numbers, captions.of_key[keys[row]]) for row in rows], 1)  # (Q, N)
    scores = text @ image[rows].T
    recalls = {"caption to image": retrieval(scores, relevant), "image to caption": retrieval(scores.T, relevant.T)}
    classes = np.array([captions.class_of.get(keys[row], -1) for row in rows])
    shown = [i for i in range(len(captions.words)) if (classes == i).any()]
    if shown:
        words = aligned.text([captions.words[i].seen[0] for i in shown])
        recalls["class to image"] = retrieval(words @ image[rows].T, np.array(shown)[:, None] == classes)
    return recalls
