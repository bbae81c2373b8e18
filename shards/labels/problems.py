"""Problems of a user's labels, gathered instead of stopping at the first."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bandloom.errors import BandloomError, LabelError

Severity = Literal["error", "warning"]
SHOWN_ALIKE = 3


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what, and how bad."""

    where: str
    what: str
    severity: Severity = "error"


@dataclass
class Problems:
    """A growing list of problems."""

    found: list[Problem] = field(default_factory=list)

    def add(self, where: str, what: str, severity: Severity = "error") -> None:
        """Note one problem."""
        self.found.append(Problem(where, what, severity))

    @contextmanager
    def gather(self, where: str) -> Iterator[None]:
        """Note an error that the block raises, and go on after it."""
        try:
            yield
        except BandloomError as error:
            self.add(where, str(error))

    @property
    def errors(self) -> list[Problem]:
        """The problems that stop a preparation."""
        return [problem for problem in self.found if problem.severity == "error"]

    def raise_first(self) -> None:
        """Raise what stops a preparation.

        Raises:
            LabelError: naming the first error and how many more there are.
        """
        if self.errors:
            first, more = self.errors[0], len(self.errors) - 1
            rest = f" ({more} more; `bandloom labels check` lists them all)" if more else ""
            where = "" if first.where in first.what else f"{first.where}: "
            raise LabelError(f"{where}{first.what}{rest}")

    def lines(self) -> list[str]:
        """Return a line a problem for a person; of more than three that differ in their place alone, the first."""
        alike: dict[tuple[str, str], list[str]] = {}
        for problem in self.found:
            alike.setdefault((problem.severity, problem.what.removeprefix(problem.where).lstrip()), []).append(
                problem.where
            )
        told = []
        for (severity, what), places in alike.items():
            shown = places if len(places) <= SHOWN_ALIKE else [f"{places[0]} and {len(places) - 1} more"]
            told += [f"{severity}: {where}: {what}" for where in shown]
        return told

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"errors": len(self.errors), "problems": [asdict(problem) for problem in self.found]}
