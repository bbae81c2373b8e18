"""Several records side by side: a verdict, what differs, curves on shared axes, and where answers differ."""

from collections.abc import Callable, Sequence

from bandloom.view.comparison import curves, disagreements, maps, pictures, scores, settings
from bandloom.view.comparison.compared import Compared, compared_of
from bandloom.view.records import Record
from bandloom.view.sections.parts import Section

MAKERS: Sequence[Callable[[Compared], Sequence[Section]]] = (
    scores.verdicts,
    maps.sections,
    scores.tables,
    settings.sections,
    scores.classes,
    disagreements.sections,
    curves.sections,
    pictures.sections,
)


def sections_of(records: Sequence[Record]) -> list[Section]:
    """Return what sets records of one kind apart; what is of another kind is named and compared with nothing."""
    groups, apart = compared_of(records)
    made = [section for group in groups for make in MAKERS for section in make(group) if not section.is_empty]
    return [*([Section("What is compared", items=apart)] if apart else []), *made]
