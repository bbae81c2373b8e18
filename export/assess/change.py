"""Area change of each class between two maps: before, after, lost, won and net, each with its error."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from bandloom.export.assess.estimates import Estimate
from bandloom.export.assess.matched_points import MatchedPoints
from bandloom.export.maps.change_grid import PAIR
from bandloom.export.maps.class_grid import ClassGrid


@dataclass(frozen=True)
class ClassChange:
    """What is estimated of one class, in hectares."""

    before_ha: Estimate
    after_ha: Estimate
    lost_ha: Estimate
    won_ha: Estimate
    net_ha: Estimate

    def record(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {field.name: getattr(self, field.name).record() for field in fields(self)}


@dataclass(frozen=True)
class AreaChange:
    """Change of every class, by name, and the area that changed its class at all."""

    classes: dict[str, ClassChange]
    changed_ha: Estimate

    def record(self) -> dict[str, Any]:
        """Return plain JSON types."""
        classes = [{"name": name, **change.record()} for name, change in self.classes.items()]
        return {"changed_ha": self.changed_ha.record(), "classes": classes}


def area_change(grid: ClassGrid, matched: MatchedPoints) -> AreaChange:
    """Estimate areas by class from points whose class is a pair, as :mod:`bandloom.export.maps.change_grid` codes it.

    The difference of two areas is one ratio estimate of a variable of -1, 0 and 1, so that what both dates have in
    common is not counted twice as error.
    """
    codes = np.array(matched.codes)[matched.sample.reference]
    old, new = codes // PAIR, codes % PAIR
    sample, total = matched.sample, matched.sample.total_ha

    def hectares(numerator: np.ndarray) -> Estimate:
        return sample.ratio(numerator).times(total)

    def change(code: int) -> ClassChange:
        before, after = (old == code).astype(int), (new == code).astype(int)
        lost, won = before * (1 - after), after * (1 - before)
        return ClassChange(*map(hectares, (before, after, lost, won, after - before)))

    earlier, later = grid.parts
    seen = sorted({code // PAIR for code in matched.codes} | {code % PAIR for code in matched.codes})
    known = {code: later.names.get(code) or earlier.name_of(code) for code in seen}
    return AreaChange({name: change(code) for code, name in known.items()}, hectares((old != new).astype(int)))
