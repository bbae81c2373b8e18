"""LUCAS points (Eurostat): from its harmonised table to the CSV of lon, lat and class that `--form points` takes."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bandloom.errors import LabelError
from bandloom.files.output import new_output, one_writer
from bandloom.shards.labels.table import read_csv

COLUMNS = ("point_id", "year", "gps_lat", "gps_long", "gps_prec", "obs_dist", "lc1")
MOST_M = 10.0  # how far a position may be off, and an observer may have stood: a pixel
NOT_TOLD = 88.0  # 88.888888 stands for no position
WEST, EAST = ("2", "W"), ("1", "E")  # of gps_ew, where the table has it


@dataclass(frozen=True)
class Points:
    """What was written, and how many rows were left out by reason."""

    written: int
    left_out: dict[str, int]


@one_writer
def write_points(table: Path, out: Path, year: int | None = None, most_m: float = MOST_M) -> Points:
    """Write the points that were measured and observed on the spot, with the letter of their land cover.

    The theoretical position of a point is never used: what was observed lies where the observer stood.

    Args:
        table: the harmonised CSV.
        out: the CSV to write; must not exist.
        year: of one survey alone; None: all, a point may then have several classes.
        most_m: GPS precision and distance of observation, in metres.

    Raises:
        LabelError: the table lacks a column, holds no such point, or signs contradict each other.
        OutputError: ``out`` exists.
    """
    left_out: Counter[str] = Counter()
    rows = list(_rows(table, year, most_m, left_out))
    if not rows:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise LabelError(f"{table} has no point to use ({why or 'it is empty'}).")
    with new_output(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("lon", "lat", "class", "point_id", "year"))
        writer.writerows(rows)
    return Points(len(rows), dict(left_out))


def _rows(
    table: Path, year: int | None, most_m: float, left_out: Counter[str]
) -> Iterator[tuple[str, str, str, str, str]]:
    for line, row in read_csv(table, COLUMNS):
        told = {name: (value or "").strip() for name, value in row.items() if name}
        lon, lat = _number(told["gps_long"]), _number(told["gps_lat"])
        precision, distance = _number(told["gps_prec"]), _number(told["obs_dist"])
        if year is not None and _code(told["year"]) != str(year):
            left_out["of another year"] += 1
        elif lon is None or lat is None or abs(lon) >= NOT_TOLD or lat >= NOT_TOLD:
            left_out["without a GPS position"] += 1
        elif precision is None or distance is None or not (0 <= precision <= most_m and 0 <= distance <= most_m):
            left_out[f"observed or measured from more than {most_m:g} m"] += 1
        elif not re.fullmatch(r"[A-H]\w*", told["lc1"]):
            left_out["without a land cover"] += 1
        else:
            side = _code(told.get("gps_ew", ""))
            if side in EAST and lon < 0:
                raise LabelError(f"{table} line {line} lies east (gps_ew {side}) at {lon}; mend the sign.")
            lon = -abs(lon) if side in WEST else lon
            yield f"{lon:.7f}", f"{lat:.7f}", told["lc1"][0], _code(told["point_id"]), _code(told["year"])


def _code(text: str) -> str:
    """Return a code as LUCAS writes it: a column with gaps that went through a table of floats says 2.0 for 2."""
    return re.sub(r"(?<=\d)\.0+$", "", text).upper()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
