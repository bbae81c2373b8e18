"""A unit of the benchmark's work: the rows that one source of features, or one fine-tuning, gives on one set."""

import shutil
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bandloom.errors import ConfigError
from bandloom.finetune.bench.config import BenchConfig
from bandloom.finetune.bench.finetuned import FINETUNED, finetuned_rows, recipe
from bandloom.finetune.bench.given import Given, given
from bandloom.finetune.bench.methods import score
from bandloom.finetune.bench.rows import BenchRow, Seen, digest, over_seeds, read_row, row_path, slug, write_row
from bandloom.finetune.bench.sets import BenchSet
from bandloom.finetune.bench.sources import Source
from bandloom.finetune.data.labelled import TaskData
from bandloom.finetune.report.record import score_row
from bandloom.finetune.scores.multilabel import MultilabelRow
from bandloom.finetune.scores.row import Row
from bandloom.run_state.pieces import Pieces, kept_in
from bandloom.run_state.pulse import alive
from bandloom.run_state.run_folder import environment, what_is_computed
from bandloom.several_scores import drawn_averages

PIECES = "pieces"  # features of a unit that is not done yet
PLACES = ("shards", "chip_labels", "checkpoint")  # what lies there is in a row's digest by its content


@dataclass(frozen=True)
class Unit:
    """The rows that one source gives on one set: its features are computed once for all of them.

    Args:
        bench: the options.
        label_set: under its split.
        source: of features, or the encoder that is fine-tuned.
        fine_tuned: whether it is.
    """

    bench: BenchConfig
    label_set: BenchSet
    source: Source
    fine_tuned: bool = False

    @property
    def names(self) -> list[tuple[str, str]]:
        """Source and method of each row."""
        name = self.source.name
        if self.fine_tuned:
            beside = [(f"{name}, random weights", FINETUNED)] if self.bench.baselines else []
            return [(name, FINETUNED), *beside]
        return [(name, method) for method in self.source.methods(self.label_set.task.answer.per_pixel)]

    def made_of(self, method: str) -> str:
        """Return a digest of all that a row depends on."""
        told: list[Any] = [method, self.bench.protocol(), self.source.made_of, self.label_set.made_of]
        if self.fine_tuned and self.source.path is not None:
            config = what_is_computed(recipe(self.label_set, self.source.path, self.bench))
            told.append({key: value for key, value in config.items() if key not in PLACES})
        return digest(told)

    def held(self) -> list[BenchRow | None]:
        """Return each row that is there, None for each that is not."""
        out, name = self.bench.out, self.label_set.name
        return [read_row(row_path(out, name, *pair), self.made_of(pair[1])) for pair in self.names]

    def missing(self) -> list[str]:
        """Return the methods whose rows are not there."""
        return [method for (_, method), row in zip(self.names, self.held(), strict=True) if row is None]

    def score(self, data: TaskData, device: torch.device) -> None:
        """Score the rows that are not there, and write each as soon as it is scored."""
        if self.fine_tuned:
            self._fine_tune(data, device)
            return
        if self.source.encoder is not None:
            self.source.encoder.to(device)
        methods = self.missing()
        seen: dict[str, list[Seen]] = {method: [] for method in methods}
        pieces = self.bench.out / PIECES / slug(self.label_set.name, self.source.name)
        seeds = range(self.bench.seeds if self.source.drawn else 1)
        with kept_in(Pieces(pieces, [self.source.made_of, self.label_set.made_of])):
            for seed in seeds:
                start = time.monotonic()
                tables = self.source.tables(data, seed, self.bench.pixels_by_role())
                told = given(tables, data, self.label_set.score, self.bench.strengths, device)
                read_s = time.monotonic() - start
                for method in methods:
                    seen[method] += self._seen(data, method, told, seed, read_s)
                    if seed == seeds[-1]:
                        width = told.tables[0].features.shape[1]
                        self._write(data, self.source.name, method, over_seeds(seen[method]), device, width)
        shutil.rmtree(pieces, ignore_errors=True)

    def _seen(self, data: TaskData, method: str, told: Given, seed: int, read_s: float) -> list[Seen]:
        """Return what a method scores from one seed of its features; a forest from every seed of its own."""
        rows = []
        for number in range(self.bench.seeds) if method == "forest" else [seed]:
            start = time.monotonic()
            scored = score(method, told, number)
            seconds = read_s + time.monotonic() - start
            row = replace(scored.row, name=self.source.name, kind=self.source.kind, seeds=(number,), seconds=seconds)
            blocks = {block: np.array(matrix) for block, matrix in row.by_block().items()}
            drawn = alive(lambda row=row: score_row(row, data.label_set.names, self.bench.bootstrap), "intervals")
            rows.append(Seen(drawn, blocks, scored.told, self._drawn(row)))
        return rows

    def _drawn(self, row: Row) -> tuple[float, ...]:
        """Return the reported score in each draw of blocks, of several classes a chip."""
        if not isinstance(row, MultilabelRow) or not self.bench.bootstrap:
            return ()
        return tuple(drawn_averages(row.several, self.bench.bootstrap)[self.label_set.score].tolist())

    def _fine_tune(self, data: TaskData, device: torch.device) -> None:
        if self.source.path is None:
            raise ConfigError(f"{self.source.name} is no encoder that could be fine-tuned.")
        told = {"recipe": what_is_computed(recipe(self.label_set, self.source.path, self.bench))}
        made_of = [self.source.made_of, self.label_set.made_of]
        rows = finetuned_rows(self.label_set, self.source.name, self.source.path, self.bench, made_of)
        for name, parts in rows.items():
            seen = over_seeds(parts)
            kind = self.source.kind if name == self.source.name else seen.row.kind
            row = seen.row.model_copy(update={"kind": kind, "name": name})
            self._write(data, name, FINETUNED, replace(seen, row=row, told=told), device)

    def _write(
        self, data: TaskData, source: str, method: str, seen: Seen, device: torch.device, width: int = 0
    ) -> None:
        about = environment()
        machine = {key: about[key] for key in ("bandloom", "commit", "platform")} | {"device": str(device)}
        row = BenchRow(
            made_of=self.made_of(method),
            label_set=self.label_set.name,
            split=str(data.split.describe()["kind"]),
            source=source,
            method=method,
            score=self.label_set.score,
            row=seen.row,
            features=width,
            told=seen.told | {"environment": machine},
            blocks={f"{block:016x}": matrix.tolist() for block, matrix in seen.blocks.items()},
            drawn=seen.drawn,
        )
        write_row(self.bench.out, row)
