"""A labelling session: the answers about a file of points, saved after each of them."""

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bandloom.errors import OutputError
from bandloom.files.points_file import UNSURE, PointsFile, is_marked
from bandloom.view.class_map import MapClass

KEYS = "1234567890qwertyiopasdfghjklvnm"  # those left over mean unsure, bright, comment, undo
COLUMNS = ("class", UNSURE, "comment")


@dataclass(frozen=True)
class Answer:
    """What was said about one point; no name means that nothing was."""

    name: str | None = None
    unsure: bool = False
    comment: str = ""


class Session:
    """Points with the answers that were given, on disk as they are here; cells of other points stay as they were."""

    def __init__(self, points: PointsFile, classes: Sequence[MapClass]) -> None:
        """Take up what the file holds.

        Args:
            points: the file.
            classes: the classes that a point may have.
        """
        self.points, self.classes = points, classes
        self._names = [land_class.name for land_class in classes]
        held = {name: points.columns.get(name, [None] * len(points)) for name in COLUMNS}
        self.answers = [
            Answer(self._name(name), is_marked(unsure), _text(comment))
            for name, unsure, comment in zip(*held.values(), strict=True)
        ]
        told = [_text(value) for value in held["class"]]
        self.unknown = [word for word, answer in zip(told, self.answers, strict=True) if word and answer.name is None]
        self._undo: list[tuple[int, Answer, tuple[Any, ...]]] = []
        self._lock = threading.Lock()
        self._version = self._stamp()

    @property
    def done(self) -> int:
        """How many points have an answer."""
        return sum(answer.name is not None for answer in self.answers)

    def record(self) -> dict[str, Any]:
        """Return what the page asks for first."""
        classes = [
            {"key": KEYS[number] if number < len(KEYS) else "", "name": land_class.name, "colour": land_class.colour}
            for number, land_class in enumerate(self.classes)
        ]
        return {
            "file": self.points.path.name,
            "classes": classes,
            "places": self.points.places.tolist(),
            "answers": [asdict(answer) for answer in self.answers],
        }

    def give(self, number: int, answer: Answer, believed: Answer | None = None) -> None:
        """Take an answer and save the file.

        Args:
            number: of the point.
            answer: to it.
            believed: what the page shows as the answer so far; another one is not overwritten.

        Raises:
            LookupError: there is no such point or class.
            OutputError: the file cannot be written, another program has changed it, or another page the answer.
        """
        if not 0 <= number < len(self.answers) or (answer.name is not None and answer.name not in self._names):
            raise LookupError(number)
        with self._lock:
            before, cells = self.answers[number], self._cells(number)
            if believed is not None and believed != before:
                raise OutputError(
                    f"point {number + 1} was answered in another window meanwhile; reload this page to see it."
                )
            self._set(number, answer, (answer.name, int(answer.unsure), answer.comment))
            self._undo.append((number, before, cells))

    def undo(self) -> int | None:
        """Take the last answer of this session back and save the file; return which point it was about.

        Raises:
            OutputError: the file cannot be written, or another program has changed it.
        """
        with self._lock:
            if not self._undo:
                return None
            number, before, cells = self._undo[-1]
            self._set(number, before, cells)
            self._undo.pop()
            return number

    def _cells(self, number: int) -> tuple[Any, ...]:
        """Return what the file holds of a point's answer, as it holds it."""
        return tuple(self.points.columns[name][number] if name in self.points.columns else None for name in COLUMNS)

    def _set(self, number: int, answer: Answer, cells: tuple[Any, ...]) -> None:
        """Change one answer, here and on disk, or neither."""
        if self._stamp() != self._version:
            raise OutputError(
                f"{self.points.path} was changed by another program since it was opened; nothing was saved: start"
                " bandloom view again to go on from what it holds now."
            )
        before = self._cells(number)
        self._put(number, cells)
        try:
            self.points.write(self.points.path, overwrite=True)
        except Exception:
            self._put(number, before)
            raise
        self.answers[number], self._version = answer, self._stamp()

    def _put(self, number: int, cells: tuple[Any, ...]) -> None:
        for name, cell in zip(COLUMNS, cells, strict=True):
            empty = {UNSURE: 0, "comment": ""}.get(name)
            self.points.columns.setdefault(name, [empty] * len(self.points))[number] = cell

    def _stamp(self) -> tuple[int, int]:
        try:
            stat = self.points.path.stat()
        except OSError:
            return 0, 0
        return stat.st_size, stat.st_mtime_ns

    def _name(self, value: Any) -> str | None:
        """Return the class that a file's value names, by its name or code; one that is unknown counts as unanswered."""
        text = _text(value)
        by_word = {land_class.name.casefold(): land_class.name for land_class in self.classes}
        by_code = {str(land_class.value): land_class.name for land_class in self.classes}
        return by_word.get(text.casefold(), by_code.get(text.removesuffix(".0")))


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()
