"""``bandloom search``: build an index, or ask one by words, by an image, or for words."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bandloom.command_line.console import console, logger, table
from bandloom.errors import TextError
from bandloom.files.output import require_absent
from bandloom.finetune.text.aligned_model import Aligned
from bandloom.finetune.text.search.contact_sheet import draw_contact_sheet
from bandloom.finetune.text.search.images import image_at, images_of, vectors_of
from bandloom.finetune.text.search.index import EmbeddingIndex, read_index
from bandloom.finetune.text.search.method import Method
from bandloom.finetune.text.search.nearest import Searcher, write_found


def query_vector(
    aligned: Aligned, index: EmbeddingIndex, query: str | None, like: str | None
) -> tuple[np.ndarray, str]:
    """Return the vector of a question and its name.

    Args:
        aligned: the model.
        index: where a key is looked up.
        query: words.
        like: the key of a chip in the index, or the path of a scene that is one chip.

    Raises:
        TextError: neither or both are given, or the chip is not there or not the only one.
    """
    if (query is None) == (like is None):
        raise TextError("ask with one of --query WORDS and --like KEY_OR_SCENE.")
    if query is not None:
        return aligned.text([query])[0], f'"{query}"'
    like = str(like)
    rows = [row for row, key in enumerate(index.places["key"]) if key == like]
    if len(rows) > 1:
        sources = " and ".join(str(index.places["source"][row]) for row in rows[:2])
        raise TextError(f"--like {like!r} names {len(rows)} chips of the index ({sources}); name a scene instead.")
    if rows:
        return index.vectors[rows[0]], f"like {like}"
    if not Path(like).exists():
        raise TextError(
            f"--like {like!r} is neither a key of the index (such as {index.places['key'][0]!r}) nor a scene here."
        )
    images = list(itertools.islice(images_of(aligned, Path(like)), 2))
    if len(images) == 1:
        ((_, vectors),) = vectors_of(aligned, images)
        return vectors[0], f"like {Path(like).name}"
    if images:
        raise TextError(
            f"--like {like} is several chips of {aligned.model.chip_px} pixels, the first {images[0].key!r}; index it"
            " with --images and name one by its key, or cut the place out of the scene."
        )
    raise TextError(f"{like} holds no chip of {aligned.model.sensor.name}; pass a scene of that sensor.")


def search(
    aligned: Aligned,
    index_file: Path,
    query: str | None,
    like: str | None,
    top: int,
    out: Path | None,
    method: Method = "auto",
) -> list[dict[str, Any]]:
    """Find the nearest chips, print them, and write a table and a contact sheet where ``out`` says.

    Returns:
        What is known of each chip, nearest first, with its score.

    Raises:
        TextError: the index or the question cannot be used.
        OutputError: the table or the contact sheet of another question lies there.
    """
    written = [out / "found.csv", out / "found.png"] if out is not None else []
    require_absent(written)
    index = read_index(index_file, aligned.digest)
    vector, title = query_vector(aligned, index, query, like)
    rows, scores = Searcher(index.vectors, method).nearest(vector, top)
    hits = [{**index.place(int(row)), "score": float(score)} for row, score in zip(rows, scores, strict=True)]
    shown = [
        [rank, f"{chip['score']:.3f}", chip["key"], chip["source"], f"{chip['x_m']:.0f}, {chip['y_m']:.0f}"]
        for rank, chip in enumerate(hits, 1)
    ]
    console.print(table(f"Nearest to {title}", ["", "cosine", "key", "source", "x, y in m"], shown))
    if out is not None:
        write_found(written[0], index, rows.tolist(), scores.tolist())
        chips = [image_at(chip, aligned.model.chip_px) for chip in hits]
        captions = [
            f"{rank}: {chip['score']:.2f}" + (f"\n{chip['class_name']}" if chip.get("class_name") else "")
            for rank, chip in enumerate(hits, 1)
        ]
        draw_contact_sheet(written[1], title, chips, captions, aligned.model.sensor)
        logger.info("the table and the pictures are in %s", out)
    return hits


@torch.no_grad()
def words_for(aligned: Aligned, source: Path, top: int) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return, for each chip of a source, the nearest of the sentences that the model keeps.

    Raises:
        TextError: it keeps none.
    """
    texts = sorted(aligned.kept.vectors)
    if not texts:
        raise TextError("the checkpoint keeps no sentences to choose from; it was aligned without a label set.")
    searcher = Searcher(aligned.text(texts))
    words = []
    for images, vectors in vectors_of(aligned, images_of(aligned, source)):
        for image, vector in zip(images, vectors, strict=True):
            rows, scores = searcher.nearest(vector, top)
            words.append((image.key, [(texts[row], float(score)) for row, score in zip(rows, scores, strict=True)]))
    return words
