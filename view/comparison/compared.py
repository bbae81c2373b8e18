"""Which records can be compared: those of one kind and one task; the others are named."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from bandloom.view.comparison.paired import Pair, pair
from bandloom.view.records import KINDS, Record

SCORED = ("finetune", "probe", "baselines", "evaluate")  # whatever scores rows on labels


@dataclass(frozen=True)
class Compared:
    """Records of one kind: the first is what the others are compared with.

    Args:
        records: two or more.
        names: of each, with its number on the page.
    """

    records: Sequence[Record]
    names: Sequence[str]

    @cached_property
    def pairs(self) -> list[tuple[str, tuple[str, str], Pair | str]]:
        """Of every scored run but the first: what its part is called, both names, and both scores or why not."""
        first, name = self.records[0], self.names[0]
        others = zip(self.records[1:], self.names[1:], strict=True)
        if first.scores is None:
            return []
        return [(f"{called} beside {name}", (name, called), pair(first, other)) for other, called in others]


def compared_of(records: Sequence[Record]) -> tuple[list[Compared], list[str]]:
    """Return the groups of records that can be compared, and sentences about those that cannot."""
    names = names_of(records)
    kinds = list(dict.fromkeys(map(kind_of, records)))
    members = {kind: [i for i, record in enumerate(records) if kind_of(record) == kind] for kind in kinds}
    groups = [
        Compared([records[i] for i in held], [names[i] for i in held]) for held in members.values() if len(held) > 1
    ]
    if len(kinds) < 2:
        return groups, []
    alone = sorted(held[0] for held in members.values() if len(held) == 1)
    told = [f"{names[i]} is {described(records[i])}" for i in alone]
    what = ", ".join(told) or "they are of two kinds"
    if not groups:
        return [], [f"Nothing is compared: {what}. Each is folded below by itself."]
    with_what = ", ".join(f"{group.names[0]} with {' and '.join(group.names[1:])}" for group in groups)
    rest = f" Compared with nothing, and folded below by itself: {what}." if told else ""
    return groups, [f"Compared: {with_what}.{rest}"]


def names_of(records: Sequence[Record]) -> list[str]:
    """Return each record's name on the page: its number and its folder's name."""
    return [f"{number}: {record.name}" for number, record in enumerate(records, 1)]


def kind_of(record: Record) -> tuple[str, str]:
    """Return what a record can be compared within: its kind and, of scored labels, its task."""
    return ("scored" if record.kind in SCORED else record.kind), record.scores.task if record.scores else ""


def described(record: Record) -> str:
    """Return a record's kind and task in words."""
    task = f", task {record.scores.task}" if record.scores else ""
    return f"of kind {KINDS[record.kind].lower()}{task}"
