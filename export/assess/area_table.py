"""Writes what an assessment says of each class as a table: hectares and accuracies with their 95 % intervals."""

import csv
from pathlib import Path

from bandloom.export.assess.estimates import Estimate
from bandloom.export.assess.score import Assessment
from bandloom.files.output import new_output

TABLE_SUFFIXES = (".csv",)
DECIMALS = 6  # a hundredth of a square metre
FIGURES = ("area_ha", "users_accuracy", "producers_accuracy")


def write_area_table(path: Path, assessment: Assessment) -> None:
    """Write one row a class: mapped hectares, then each figure with standard error and 95 % interval.

    Cells of what cannot be estimated are empty.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    parts = ("", "_standard_error", "_low_95", "_high_95")
    header = ["class", "mapped_ha", *(figure + part for figure in FIGURES for part in parts)]
    with new_output(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for name, mapped, estimates in zip(assessment.classes, assessment.mapped_ha, assessment.by_class, strict=True):
            cells = [cell for figure in FIGURES for cell in _cells(getattr(estimates, figure))]
            writer.writerow([name, f"{mapped:.{DECIMALS}f}", *cells])


def _cells(estimate: Estimate) -> list[str]:
    if estimate.record() is None:
        return [""] * 4
    return [f"{value:.{DECIMALS}f}" for value in (estimate.value, estimate.standard_error, *estimate.interval)]
