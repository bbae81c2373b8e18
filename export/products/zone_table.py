"""Tables of the areas of zones: CSV, or the zones themselves with columns added."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.export.maps.feature_file import FEATURE_SUFFIXES, FeatureLayer, write_features
from bandloom.export.products.zones import ZoneAreas
from bandloom.files.output import new_output

ZONE_SUFFIXES = (".csv", *FEATURE_SUFFIXES)


def columns_of(areas: ZoneAreas) -> dict[str, Any]:
    """Return what is told of each zone, by column: its name, areas, and hectares and share of each class."""
    taken = Counter(["zone", "mapped", *(name.casefold() for name in areas.names)])  # of columns, in any case
    told = [f"{name} ({code})" if taken[name.casefold()] > 1 else name for name, code in _classes(areas)]
    by_class = {
        f"{name}_{what}": values[:, index]
        for index, name in enumerate(told)
        for what, values in (("ha", areas.class_ha), ("share", areas.shares))
    }
    names = [areas.called(number) for number in range(len(areas.zone_ha))]
    return {"zone": names, "zone_ha": areas.zone_ha, "mapped_ha": areas.mapped_ha, **by_class}


def _classes(areas: ZoneAreas) -> list[tuple[str, int]]:
    return list(zip(areas.names, areas.codes, strict=True))


def write_zones(path: Path, areas: ZoneAreas) -> None:
    """Write the table in the form that a file's ending says.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    columns = columns_of(areas)
    if path.suffix.lower() == ".csv":
        _write_csv(path, columns)
        return
    import shapely  # pyright: ignore[reportMissingImports]
    from shapely.geometry import MultiPolygon, shape  # pyright: ignore[reportMissingImports]

    drawn: list[Any] = [shape(geometry) for geometry in areas.drawing.geometries]
    several = [zone if zone.geom_type == "MultiPolygon" else MultiPolygon([zone]) for zone in drawn]
    kinds = {name: "string" if name == "zone" else "float64" for name in columns}
    layer = FeatureLayer("zones", "MultiPolygon", areas.drawing.crs, kinds)
    write_features(path, layer, [(shapely.to_wkb(np.array(several, object)), columns)])


def _write_csv(path: Path, columns: dict[str, Any]) -> None:
    """Hectares are written to a square metre, shares to six places; a share of nothing is empty."""
    with new_output(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for name, *numbers in zip(*columns.values(), strict=True):
            cells = [
                "" if np.isnan(number) else f"{number:.6f}" if column.endswith("_share") else f"{number:.4f}"
                for column, number in zip(list(columns)[1:], numbers, strict=True)
            ]
            writer.writerow([name, *cells])
