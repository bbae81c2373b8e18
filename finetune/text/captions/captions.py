"""Captions and classes of samples for training, from files, labels, masks and metadata."""

import datetime as clock
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.command_line.config import Config, ReadWhen
from bandloom.draws.sample_draws import rng_of
from bandloom.errors import LabelError, TextError
from bandloom.finetune.data.splits import stable_hash
from bandloom.finetune.text.captions.caption_file import kept_captions, read_captions
from bandloom.finetune.text.captions.sentences_of_ground import mask_caption, metadata_caption
from bandloom.finetune.text.captions.words import TEMPLATES, ClassWords, class_words, sentences, told_words
from bandloom.rasters.projected import projected
from bandloom.shards.read.shard_set import ShardSet

PURPOSE_WORDS = 201
VARIANTS = 3  # wordings of one mask or place
HELD_OUT = 0.2  # a training sample may show this much of a class that it is not told of
DOMINANT = 0.5  # a sample with a mask has the class that covers this much of it


class CaptionConfig(Config):
    """Where captions come from."""

    sources: list[Literal["csv", "shards", "labels", "masks", "metadata"]] = Field(
        default_factory=lambda: ["labels"],
        description="csv: the user's; shards: what `shards build --captions` put into them; labels: class words in"
        " templates; masks: by fraction; metadata: when and where",
    )
    csv: Annotated[Path | None, ReadWhen("sources", ("csv",))] = Field(
        default=None, description="columns key and caption; needed by the source csv"
    )
    words: str | None = Field(
        default=None, description="label set with synonyms, shipped or YAML; null: the one of the shards' name"
    )
    templates: list[str] = Field(default_factory=lambda: list(TEMPLATES), description="sentences with {} for the word")
    keep_back: int = Field(default=1, ge=0, description="synonyms a class that training never sees, to test with")


@dataclass(frozen=True)
class Captions:
    """Captions and classes of samples.

    Args:
        texts: every caption once.
        of_key: numbers into ``texts`` by sample key; samples without captions are absent.
        class_of: class index by sample key, where there is one.
        shares: class fractions ``(K,)`` by sample key, where there are masks.
        words: of the classes; empty without a label set.
    """

    texts: tuple[str, ...]
    of_key: dict[str, np.ndarray]
    class_of: dict[str, int]
    shares: dict[str, np.ndarray]
    words: tuple[ClassWords, ...]

    def draw(self, key: str, draw: int | np.uint64) -> int:
        """Return the number of the caption that a sample has in this epoch."""
        own = self.of_key[key]
        return int(own[rng_of(draw, PURPOSE_WORDS).integers(len(own))])

    def shows(self, key: str, classes: Sequence[int]) -> bool:
        """Tell whether a sample shows enough of any of the classes to be kept from training."""
        shown = self.shares.get(key)
        if shown is not None:
            return bool((shown[list(classes)] >= HELD_OUT).any())
        return self.class_of.get(key, -1) in classes


def make_captions(
    config: CaptionConfig, shards: ShardSet, indices: np.ndarray, *, turned: bool, held_out: Sequence[str] = ()
) -> Captions:
    """Caption samples of a shard set.

    Args:
        config: from what.
        shards: a :class:`bandloom.shards.read.shard_set.ShardSet`.
        indices: which samples, ``(N,)``.
        turned: images will be turned and mirrored.
        held_out: classes that captions of masks do not speak of.

    Raises:
        BandloomError: a source cannot be used with these shards, or no sample got a caption.
    """
    words = class_words(shards.label_set, config.words, config.keep_back) if shards.label_set else ()
    entries = {shards.entries[int(i)].key: int(i) for i in indices}
    class_of, shares = _classes(shards, entries)
    _check(config, shards, entries, class_of, shares)
    captions: dict[str, list[str]] = {key: [] for key in entries}
    if "csv" in config.sources:
        for key, own in read_captions(Path(str(config.csv)), entries, turned=turned).items():
            captions[key] += own
    if "shards" in config.sources:
        held = ((key, text) for key, index in entries.items() for text in shards.entries[index].captions)
        for key, own in kept_captions(held, turned=turned).items():
            captions[key] += own
    words = told_words(words, [text for own in captions.values() for text in own])
    if "labels" in config.sources:
        of_class = [sentences(word.seen, config.templates) for word in words]
        for key, index in class_of.items():
            captions[key] += of_class[index]
    for key, index in entries.items():
        entry, rng = shards.entries[index], rng_of(int(stable_hash(0, *key.encode())), PURPOSE_WORDS)
        if "masks" in config.sources and key in shares:
            told = np.array(
                [0.0 if word.name in held_out else share for word, share in zip(words, shares[key], strict=True)]
            )
            captions[key] += [mask_caption(told, words, rng) for _ in range(VARIANTS)]
        if "metadata" in config.sources:
            captions[key].append(metadata_caption(shards.sensors[entry.sensor], time_of(entry), *place_of(entry)))
    return _numbered(captions, class_of, shares, words)


def _numbered(
    captions: dict[str, list[str]],
    class_of: dict[str, int],
    shares: dict[str, np.ndarray],
    words: tuple[ClassWords, ...],
) -> Captions:
    texts = {
        text: number for number, text in enumerate(dict.fromkeys(t for own in captions.values() for t in own if t))
    }
    if not texts:
        raise TextError("no sample got a caption; check captions.sources, and that the shards carry what they need.")
    of_key = {key: np.array(sorted({texts[text] for text in own if text}), np.int64) for key, own in captions.items()}
    return Captions(tuple(texts), {key: own for key, own in of_key.items() if len(own)}, class_of, shares, words)


def _classes(shards: ShardSet, entries: dict[str, int]) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """Return classes and class fractions by key, from chips' classes and from masks."""
    class_of, shares = {}, {}
    for key, index in entries.items():
        entry = shards.entries[index]
        if entry.class_index is not None:
            class_of[key] = int(entry.class_index)
        elif entry.has_label and shards.label_set is not None:
            if (label := shards.mask(index, "label")) is None:
                continue
            known = label[label != IGNORE_INDEX]
            if known.size:
                shares[key] = np.bincount(known, minlength=len(shards.label_set)) / known.size
                if shares[key].max() >= DOMINANT:
                    class_of[key] = int(shares[key].argmax())
    return class_of, shares


def _check(
    config: CaptionConfig,
    shards: ShardSet,
    entries: dict[str, int],
    class_of: dict[str, int],
    shares: dict[str, np.ndarray],
) -> None:
    if not config.sources:
        raise TextError("captions.sources is empty; name some of csv, shards, labels, masks and metadata.")
    if "csv" in config.sources and config.csv is None:
        raise TextError("captions.sources has csv, but captions.csv names no file; add its path.")
    if "shards" in config.sources and not any(shards.entries[index].captions for index in entries.values()):
        raise TextError(
            f"no sample of the shards {shards.path} has a caption of its own; build them with `bandloom"
            " shards build --captions CSV`, or use captions.sources=[csv]."
        )
    if "labels" in config.sources and not class_of:
        raise LabelError(
            f"the shards {shards.path} hold no sample with a class, which captions from labels need; use"
            " captions.sources=[csv] or [metadata], or labelled shards."
        )
    if "masks" in config.sources and not shares:
        raise LabelError(
            f"the shards {shards.path} hold no label masks, which captions by fraction need; use"
            " captions.sources=[labels], or shards built with --labels MASKS."
        )


def time_of(entry: Any) -> clock.datetime | None:
    """Return when a sample was taken, where its shard says it."""
    return clock.datetime.fromisoformat(entry.datetime) if entry.datetime else None


def place_of(entry: Any) -> tuple[float | None, float | None]:
    """Return longitude and latitude of a sample's middle."""
    if entry.epsg is None:
        return None, None
    half = entry.side_px * 10 / 2
    (lon,), (lat,) = projected(f"EPSG:{entry.epsg}", "EPSG:4326", [entry.x_m + half], [entry.y_m - half])
    return (float(lon), float(lat)) if np.isfinite([lon, lat]).all() else (None, None)
