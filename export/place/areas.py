"""The hectares of each class within the box, map by map, as a table."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bandloom.export.products.zones import ZoneAreas, zone_areas
from bandloom.files.output import new_output
from bandloom.shards.labels.reading import LabelReading
from bandloom.shards.labels.vector_file import NO_FIELD

COLUMNS = ("map", "day", "class", "hectares", "share_of_mapped", "mapped_ha", "box_ha")


@dataclass(frozen=True)
class MapAreas:
    """What one map shows of the box: its name and day, and the areas of the one zone that the box is."""

    name: str
    day: str
    areas: ZoneAreas

    @property
    def mapped_ha(self) -> float:
        """What of the box has a class."""
        return float(self.areas.mapped_ha[0])

    @property
    def rows(self) -> list[tuple[str, float, float]]:
        """Class, hectares, and share of what is mapped."""
        told = zip(self.areas.names, self.areas.class_ha[0].tolist(), self.areas.shares[0].tolist(), strict=True)
        return [(name, hectares, share) for name, hectares, share in told if hectares]


def areas_within(box: Path, maps: Sequence[tuple[Path, str]]) -> list[MapAreas]:
    """Add up the classes of maps within a box.

    Args:
        box: GeoJSON of the box.
        maps: each map and its day.

    Raises:
        SceneError: a map cannot be read, or shows nothing.
        LabelError: the box does not lie on a map.
    """
    reading = LabelReading(field=NO_FIELD)
    return [MapAreas(path.stem, day, zone_areas(path, box, reading)) for path, day in maps]


def write_areas(path: Path, told: Sequence[MapAreas]) -> None:
    """Write one row a map and class.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    with new_output(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in told:
            whole = (f"{one.mapped_ha:.4f}", f"{float(one.areas.zone_ha[0]):.4f}")
            for name, hectares, share in one.rows:
                writer.writerow((one.name, one.day, name, f"{hectares:.4f}", f"{share:.6f}", *whole))
