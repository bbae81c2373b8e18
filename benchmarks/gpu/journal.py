"""Rows of a benchmark on disk, one JSON line each as soon as it is measured: a killed call goes on where it was."""

import faulthandler
import json
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandloom.run_state.run_folder import commit

ROWS = "rows.jsonl"
_GRACE_S = 60.0  # past its limit a call that hangs is ended, its stacks printed


@dataclass(frozen=True)
class Row:
    """One thing to measure.

    Args:
        name: unique among all calls.
        expected_s: about how long it takes on a GPU; a row that would not end within the limit is left out.
        measure: returns plain JSON types.
    """

    name: str
    expected_s: float
    measure: Callable[[], dict[str, Any]]


class Journal:
    """The rows of a folder.

    Args:
        folder: where rows are written.
        known: folders of earlier calls, whose rows are not measured again.
    """

    def __init__(self, folder: Path, known: Sequence[Path] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / ROWS
        self._known = [path / ROWS for path in known]

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the newest record of each row; a last line that a kill cut short is no row."""
        records = {}
        for path in (*self._known, self.path):
            for line in path.read_text().splitlines() if path.exists() else ():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue
                records[record["row"]] = record
        return records

    def write(self, record: dict[str, Any]) -> None:
        """Add a row and sync it to the disk."""
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a") as file:
            file.write(("\n" if torn else "") + json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())


def run_rows(rows: Sequence[Row], journal: Journal, limit_s: float) -> list[str]:
    """Measure what the journal lacks, in order, and return the names of the rows that the time did not allow.

    A row that fails is written with its error, the others go on; the next call tries it again.
    """
    began, left_out = time.monotonic(), []
    faulthandler.dump_traceback_later(limit_s + _GRACE_S, exit=True)
    try:
        done = {name for name, record in journal.rows().items() if "failed" not in record}
        for row in rows:
            if row.name in done:
                print(f"{row.name}: measured before", flush=True)
            elif time.monotonic() - began + row.expected_s > limit_s:
                left_out.append(row.name)
            else:
                record = measured(row)
                journal.write(record)
                print(json.dumps(record), flush=True)
    finally:
        faulthandler.cancel_dump_traceback_later()
    return left_out


def measured(row: Row) -> dict[str, Any]:
    """Return a row's record, with its error where it failed."""
    began = time.monotonic()
    try:
        told = row.measure()
    except Exception as cause:  # whatever goes wrong on a borrowed card is a result, and the next row is tried
        traceback.print_exc()
        told = {"failed": f"{type(cause).__name__}: {cause}"[:2000]}
    if told.get("within") is False and "failed" not in told:
        told["failed"] = "it is further off than its limit"
    return {"row": row.name, **told, "took_s": round(time.monotonic() - began, 1), "commit": commit()}
