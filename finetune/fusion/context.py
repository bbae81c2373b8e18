"""Context in words for each sample, and its controls: the same words dealt to other samples, and none."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bandloom.command_line.console import logger
from bandloom.errors import TextError
from bandloom.finetune.data.split_choice import scene_of
from bandloom.finetune.fusion.config import ContextConfig
from bandloom.finetune.text.captions.caption_file import read_rows
from bandloom.finetune.text.captions.captions import place_of, time_of
from bandloom.finetune.text.captions.sentences_of_ground import metadata_caption
from bandloom.finetune.text.text_model.sources import FileSource, TextSource
from bandloom.finetune.text.text_model.vectors import KeptVectors
from bandloom.shards.read.shard_set import ShardSet

MOST_SENTENCES = 8  # a report's further sentences are averaged into its last vector
_ENDS = ".!?;"


def read_context(config: ContextConfig, shards: ShardSet, indices: Sequence[int]) -> list[str]:
    """Return the context of each sample, empty where there is none.

    Raises:
        TextError: the source cannot be used, or knows none of the samples.
    """
    entries = [shards.entries[int(i)] for i in indices]
    if config.source == "metadata":
        sentences = [metadata_caption(shards.sensors[e.sensor], time_of(e), *place_of(e)) for e in entries]
        return sentences
    if config.path is None:
        raise TextError(f"context.source is {config.source}, but context.path names no file; add its path.")
    read = _of_csv if config.source == "csv" else _of_sidecars
    sentences = read(config.path, [entry.key for entry in entries])
    without = sum(not text for text in sentences)
    if without == len(sentences):
        raise TextError(
            f"{config.path} has no context for any of the {len(sentences)} samples (keys are like"
            f" {entries[0].key!r}); `bandloom shards info` names them."
        )
    if without:
        logger.warning("%d of %d samples have no context", without, len(sentences))
    return sentences


def sentences_of(text: str) -> list[str]:
    """Split a context into sentences."""
    parts, current = [], ""
    for word in text.split():
        current = f"{current} {word}".strip()
        if word[-1] in _ENDS:
            parts.append(current)
            current = ""
    return [*parts, current] if current else parts


def context_vectors(texts: Sequence[str], kept: KeptVectors, source: TextSource) -> np.ndarray:
    """Return one vector a sentence, ``(N, S, E)`` float32; places without a sentence are zero.

    A source that is a file of vectors has whole contexts, not sentences: then S is 1.
    """
    whole = isinstance(source, FileSource)
    split = [[text] if whole and text else sentences_of(text) for text in texts]
    if any(split):
        kept.of(sorted({item for own in split for item in own}), source)
    rows = max(1, min(MOST_SENTENCES, max(map(len, split), default=1)))
    by_text = np.zeros((len(texts), rows, source.dim), np.float32)
    for place, own in enumerate(split):
        if own:
            vectors = kept.of(own)
            by_text[place, : min(rows, len(own))] = vectors[:rows]
            if len(own) > rows:
                by_text[place, rows - 1] = vectors[rows - 1 :].mean(0)
    return by_text


def shuffled(roles: np.ndarray, seed: int) -> np.ndarray:
    """Return whose context each sample gets, ``(N,)``: another's of its role, so that nothing else changes."""
    rng = np.random.default_rng([seed, 11])
    dealt = np.arange(len(roles))
    for role in np.unique(roles).tolist():
        own = np.flatnonzero(roles == role)
        dealt[own] = rng.permutation(own)
    return dealt


def _of_csv(path: Path, keys: Sequence[str]) -> list[str]:
    held: dict[str, str] = {}
    for _, key, text in read_rows(path, "context"):
        held[key] = f"{held[key]} {text.strip()}" if key in held else text.strip()
    return _of_keys(path, keys, held)


def _of_sidecars(folder: Path, keys: Sequence[str]) -> list[str]:
    if not folder.is_dir():
        raise TextError(f"context.path {folder} is no folder; put KEY.txt files into one, KEY a sample's or a scene's.")
    try:
        files = [path for path in folder.glob("*.txt") if not path.name.startswith(".")]  # macOS leaves ._KEY.txt
        held = {path.stem: " ".join(path.read_text(encoding="utf-8-sig").split()) for path in files}
    except (OSError, UnicodeDecodeError) as cause:
        raise TextError(f"a text of {folder} cannot be read ({cause}); write them as UTF-8.") from cause
    return _of_keys(folder, keys, held)


def _of_keys(path: Path, keys: Sequence[str], held: Mapping[str, str]) -> list[str]:
    """Return the context of each key; those of other samples and scenes are counted."""
    unknown = sorted(set(held) - set(keys) - {scene_of(key) for key in keys})
    if unknown:
        what = "%d of %d contexts in %s are of no labelled sample or scene, such as %s, and are left out"
        logger.warning(what, len(unknown), len(held), path, unknown[0])
    return [_own_or_scene(key, held) for key in keys]


def _own_or_scene(key: str, held: Mapping[str, str]) -> str:
    return held.get(key) or held.get(scene_of(key), "")
