"""Rows of the benchmark's table as files: each is written once it is scored, and taken as it is from then on."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from bandloom.command_line.config import Config
from bandloom.command_line.console import logger
from bandloom.files.output import write_json
from bandloom.finetune.bench.config import SCHEMA
from bandloom.scores import ScoreRow

ROWS = "rows"


class BenchRow(Config):
    """One score: a set, what features came from, which classifier read them, and how well."""

    schema_version: int = SCHEMA
    made_of: str = Field(description="digest of all that the score depends on")
    label_set: str = Field(description="name of the set")
    split: str = Field(description="how training and test ground were told apart")
    source: str = Field(description="the encoder, or the baseline")
    method: str = Field(description="which classifier")
    score: str = Field(description="the score that is reported")
    row: ScoreRow
    features: int = Field(default=0, description="length of a feature")
    told: dict[str, Any] = Field(default={}, description="such as the C that was chosen, or the recipe")
    blocks: dict[str, Any] = Field(default={}, description="confusions by block, for comparisons in pairs")
    drawn: tuple[float, ...] = Field(default=(), description="of several classes: the score in each draw of blocks")

    @property
    def value(self) -> float:
        """The reported score."""
        return self.row.scores[self.score]

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % interval, where one could be drawn."""
        return self.row.interval_95.get(self.score)

    @property
    def confusions(self) -> dict[int, np.ndarray]:
        """Confusion matrices ``(K, K)`` by block; empty of several classes a chip."""
        return {int(block, 16): np.array(matrix) for block, matrix in self.blocks.items()}


def digest(made_of: Any) -> str:
    """Return a short digest of plain JSON types."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()[:24]


def slug(*words: str) -> str:
    """Return words as a file's name; what a name cannot hold is told apart by a digest."""
    plain = "--".join(re.sub(r"[^A-Za-z0-9._=-]+", "-", word).strip("-") for word in words)
    return plain if plain == "--".join(words) else f"{plain}-{hashlib.sha256(repr(words).encode()).hexdigest()[:6]}"


def row_path(out: Path, label_set: str, source: str, method: str) -> Path:
    """Return where a row lies."""
    return out / ROWS / slug(label_set) / f"{slug(source, method)}.json"


def read_row(path: Path, made_of: str) -> BenchRow | None:
    """Return a row that was scored from the same, or None."""
    try:
        row = BenchRow.model_validate(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError):
        logger.warning("%s cannot be read and is scored again", path)
        return None
    return row if row.made_of == made_of else None


def write_row(out: Path, row: BenchRow) -> None:
    """Write a row, whole or not at all."""
    path = row_path(out, row.label_set, row.source, row.method)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, row.model_dump(mode="json"))


@dataclass(frozen=True)
class Seen:
    """What was scored from one seed, or from several.

    Args:
        row: scores and intervals.
        blocks: confusions ``(K, K)`` by block, where labels have one class; summed over seeds.
        told: such as the C that was chosen, of the first seed.
        drawn: where a chip has several classes, the reported score in each draw of blocks ``(draws,)``; its mean over
            seeds.
    """

    row: ScoreRow
    blocks: dict[int, np.ndarray]
    told: dict[str, Any]
    drawn: tuple[float, ...] = ()


def over_seeds(parts: Sequence[Seen]) -> Seen:
    """Return one row of several seeds: means of scores and of the bounds of intervals, and every seed's own score."""
    if len(parts) == 1:
        return parts[0]
    rows = [part.row for part in parts]
    bounds = {name: [row.interval_95[name] for row in rows if name in row.interval_95] for name in rows[0].scores}
    mean = rows[0].model_copy(
        update={
            "seeds": tuple(seed for row in rows for seed in row.seeds),
            "scores": {name: float(np.mean([row.scores[name] for row in rows])) for name in rows[0].scores},
            "interval_95": {
                name: tuple(np.mean(pairs, axis=0).tolist())
                for name, pairs in bounds.items()
                if len(pairs) == len(rows)
            },
            "by_seed": {name: tuple(row.scores[name] for row in rows) for name in rows[0].scores},
            "classes": (),
            "seconds": sum(row.seconds for row in rows),
        }
    )
    blocks = {
        block: sum((part.blocks[block] for part in parts[1:]), start=parts[0].blocks[block])
        for block in parts[0].blocks
    }
    drawn = tuple(np.mean([part.drawn for part in parts], axis=0).tolist())
    return Seen(mean, blocks, parts[0].told, drawn)
