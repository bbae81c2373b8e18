"""``bandloom bench``: every row that is not there yet, one after the other or in parts, and then the table."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bandloom.command_line.console import console, logger
from bandloom.errors import BandloomError, ConfigError
from bandloom.files.output import full_disk_said
from bandloom.finetune.bench.config import BenchConfig
from bandloom.finetune.bench.sets import BenchSet, find_sets
from bandloom.finetune.bench.sources import Source, baseline_sources, encoder_sources, untrained_source
from bandloom.finetune.bench.table import console_table, write_tables
from bandloom.finetune.bench.unit import Unit
from bandloom.finetune.data.labelled import TaskData
from bandloom.run_state.markers import EXIT_DONE, EXIT_STOPPED, RunMarkers
from bandloom.run_state.pulse import StopRequested, alive, heard_by, pulse


def bench(config: BenchConfig, part: tuple[int, int] = (0, 1)) -> int:
    """Score what is not scored yet, and write the table of all that is.

    Args:
        config: the sets, the encoders and the protocol.
        part: (i, n): do every n-th unit from number i, counted from 0, as one of n machines that share the folder.

    Returns:
        The exit code: 0, or 75 where it was asked to stop: the same command goes on.

    Raises:
        BandloomError: there is no set, an encoder cannot be read, or no row could be scored.
    """
    sets, refused = find_sets(config.sets, config.only)
    units, remarks = _units(config, sets)
    remarks = [*(f"{name} is not scored: {why}" for name, why in refused.items()), *remarks]
    code, failed = _listen_and_score(config, units[part[0] :: part[1]])
    remarks += failed
    rows = [row for unit in units for row in unit.held() if row is not None]
    wanted = sum(len(unit.names) for unit in units)
    if not rows and part == (0, 1) and code == EXIT_DONE:
        raise ConfigError(f"nothing could be scored: {'; '.join(remarks) or 'name an --encoder, or keep baselines'}.")
    if len(rows) < wanted:
        remarks.append(f"{wanted - len(rows)} of {wanted} rows are not there yet; the same command goes on with them.")
    write_tables(config.out, rows, remarks, config.bootstrap)
    console.print(console_table(rows, config.bootstrap))
    for remark in remarks:
        logger.warning("%s", remark)
    logger.info("%d of %d rows are scored; the table is %s", len(rows), wanted, config.out / "table.md")
    return code


def _units(config: BenchConfig, sets: Sequence[BenchSet]) -> tuple[list[Unit], list[str]]:
    """Return what there is to score, set by set, and which encoder cannot take which set."""
    encoders = encoder_sources(config.encoders)
    units: list[Unit] = []
    remarks: list[str] = []
    for label_set in sets:
        for source in encoders:
            try:
                source.check(label_set.sensor)
            except BandloomError as cause:
                remarks.append(f"{source.name} is not scored on {label_set.name}: {cause}")
                continue
            units += _of_encoder(config, label_set, source)
        units += [Unit(config, label_set, source) for source in (baseline_sources() if config.baselines else [])]
    return units, remarks


def _of_encoder(config: BenchConfig, label_set: BenchSet, source: Source) -> list[Unit]:
    units = [Unit(config, label_set, source)]
    if config.baselines:
        units.append(Unit(config, label_set, untrained_source(source)))
    if config.fine_tune:
        units.append(Unit(config, label_set, source, fine_tuned=True))
    return units


@dataclass(frozen=True)
class _Ear:
    """Beats and listens for a whole benchmark, whose parts share a folder: each has an attempt of its own."""

    markers: RunMarkers

    def speak(self, stage: str) -> None:
        """Beat."""
        with full_disk_said("the heartbeat is not written"):
            self.markers.beat_stage(stage)

    def hear(self, stage: str) -> None:
        """Beat, and end where it was asked to."""
        self.speak(stage)
        if self.markers.stop_requested():
            raise StopRequested


def _listen_and_score(config: BenchConfig, units: Sequence[Unit]) -> tuple[int, list[str]]:
    """Score what is not there; returns the exit code, and what could not be scored."""
    markers = RunMarkers(config.out)
    remarks: list[str] = []
    try:
        with markers.listening(), heard_by(_Ear(markers)):
            _score_all(units, remarks)
    except StopRequested:
        return EXIT_STOPPED, remarks
    return EXIT_DONE, remarks


def _score_all(units: Sequence[Unit], remarks: list[str]) -> None:
    """Score the rows that are not there, and remark what cannot be scored, and why: the others stand."""
    opened: dict[str, TaskData] = {}
    closed: set[str] = set()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for number, unit in enumerate(units, 1):
        pulse("between rows")
        name = unit.label_set.name
        if name in closed or not unit.missing():
            continue
        logger.info("%d of %d: %s on %s", number, len(units), unit.source.name, name)
        try:
            opened = opened if name in opened else {name: alive(unit.label_set.open, f"opening {name}")}
        except BandloomError as cause:
            closed.add(name)
            remarks.append(f"{name} is not scored: {cause}")
            continue
        try:
            unit.score(opened[name], device)
        except BandloomError as cause:
            remarks.append(f"{unit.source.name} is not scored on {name}: {cause}")
