"""Words of an assessment: the tables of the console and the paragraph for a methods section."""

import math
from collections.abc import Iterator

import numpy as np
from rich.measure import Measurement
from rich.table import Table

from bandloom.command_line.console import console, table
from bandloom.export.assess.change import AreaChange
from bandloom.export.assess.estimates import Estimate
from bandloom.export.assess.score import Assessment

SOURCES = (
    "stratified estimators (Olofsson et al., 2014, Remote Sensing of Environment 148, 42-57; Stehman, 2014,"
    " International Journal of Remote Sensing 35, 4923-4939)"
)
UNBOUNDED = 10_000  # letters of a line, to ask how many a table wants
MOST_ERRORS = 15  # cells of a matrix that is too wide to be shown
MANY_HA = 10_000  # above which nobody reads the decimals


def tables(assessment: Assessment, width: int) -> Iterator[Table]:
    """Yield what a person reads first: accuracies and areas, then the error matrix; ``width`` letters fit a line."""
    rows = [
        (
            name,
            share(land_class.users_accuracy),
            share(land_class.producers_accuracy),
            f"{mapped:,.2f}",
            f"{land_class.area_ha.value:,.2f}",
            f"{land_class.area_ha.standard_error:,.2f}",
            f"{land_class.area_ha.half_width:,.2f}",
        )
        for name, mapped, land_class in zip(assessment.classes, assessment.mapped_ha, assessment.by_class, strict=True)
    ]
    if assessment.change:
        yield _change_table(assessment.change)
    header = ("class", "user's", "producer's", "mapped ha", "estimated ha", "SE ha", "± ha (95 %)")
    yield table(f"overall accuracy {share(assessment.overall)} (± is half of the 95 % interval)", header, rows)
    yield _matrix(assessment, width)


def _matrix(assessment: Assessment, width: int) -> Table:
    """Return the error matrix: shares and points, or where its lines would be too long points alone, by number.

    Where those are too long too, as of what became what between two maps, its largest errors stand in a list.
    """
    names = assessment.classes
    rows = zip(names, assessment.shares.tolist(), assessment.counts.tolist(), strict=True)
    cells = [
        (name, *(f"{cell:.4f} ({count})" for cell, count in zip(shares, counts, strict=True)))
        for name, shares, counts in rows
    ]
    shown = table("shares of the area (points): map in rows, reference in columns", ("", *names), cells)
    if _fits(shown, width):
        return shown
    counted = zip(names, assessment.counts.tolist(), strict=True)
    numbered = [(f"{number} {name}", *row) for number, (name, row) in enumerate(counted, 1)]
    title = "points: map in rows, reference in columns; shares of the area are in --out"
    shown = table(title, ("", *map(str, range(1, len(names) + 1))), numbered)
    return shown if _fits(shown, width) else _largest_errors(assessment)


def _fits(shown: Table, width: int) -> bool:
    return Measurement.get(console, console.options.update(max_width=UNBOUNDED), shown).minimum <= width


def _largest_errors(assessment: Assessment) -> Table:
    """Return the cells off the error matrix's diagonal that hold most of the area."""
    names, shares, counts = assessment.classes, assessment.shares, assessment.counts
    errors = np.where(np.eye(len(names), dtype=bool), 0.0, shares)
    order = np.argsort(-errors, axis=None, kind="stable")[:MOST_ERRORS]
    cells = [divmod(int(place), len(names)) for place in order if errors.ravel()[place] > 0]
    rows = [(names[i], names[j], f"{shares[i, j]:.4f}", str(counts[i, j])) for i, j in cells]
    return table("largest errors; all of them are in --out", ("mapped", "reference", "share of area", "points"), rows)


def _change_table(change: AreaChange) -> Table:
    rows = [
        (name, *(f"{figure.value:,.2f} ± {figure.half_width:,.2f}" for figure in vars(of_class).values()))
        for name, of_class in change.classes.items()
    ]
    changed = f"{change.changed_ha.value:,.2f} ± {change.changed_ha.half_width:,.2f} ha"
    return table(
        f"{changed} changed (± is half of the 95 % interval)",
        ("class", "before ha", "after ha", "lost ha", "won ha", "net ha"),
        rows,
    )


def share(estimate: Estimate) -> str:
    """Return a share with half the width of its 95 % interval; a dash where there is nothing to estimate."""
    return "-" if math.isnan(estimate.value) else f"{estimate.value:.3f} ± {estimate.half_width:.3f}"


def paragraph(assessment: Assessment) -> str:
    """Return text ready for a methods section."""
    points = int(assessment.counts.sum())
    strata = "the classes of the map" if assessment.same_strata else "those of the map that the sample was drawn of"
    if assessment.recorded:
        design = f"a stratified random sample of {points} reference points whose strata were {strata}"
    else:
        design = (
            f"{points} reference points without a record of a probability sample, weighted by the mapped area of their"
            " class"
        )
    digits = 0 if assessment.total_ha > MANY_HA else 2
    areas = "; ".join(
        f"{name} {land_class.area_ha.value:,.{digits}f} ± {land_class.area_ha.half_width:,.{digits}f} ha"
        for name, land_class in zip(assessment.classes, assessment.by_class, strict=True)
    )
    accuracies = "; ".join(
        f"{name} {_percent(land_class.users_accuracy)} and {_percent(land_class.producers_accuracy)}"
        for name, land_class in zip(assessment.classes, assessment.by_class, strict=True)
    )
    return (
        f"Accuracy and area were estimated over {assessment.total_ha:,.{digits}f} ha from {design}, with {SOURCES}."
        f" Overall accuracy was {_percent(assessment.overall)}. User's and producer's accuracy were: {accuracies}."
        f" Estimated areas were: {areas}.{_change_words(assessment.change, digits)}"
        " Intervals are 95 % confidence intervals."
    )


def _change_words(change: AreaChange | None, digits: int) -> str:
    if change is None:
        return ""
    nets = "; ".join(
        f"{name} {land_class.net_ha.value:+,.{digits}f} ± {land_class.net_ha.half_width:,.{digits}f} ha"
        for name, land_class in change.classes.items()
    )
    changed = f"{change.changed_ha.value:,.{digits}f} ± {change.changed_ha.half_width:,.{digits}f} ha"
    return f" The class changed on {changed}; net changes of area were: {nets}."


def _percent(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "not estimable"
    return f"{100 * estimate.value:.1f} ± {100 * estimate.half_width:.1f} %"
