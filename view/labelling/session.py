"""A labelling session: the answers about a file of points, saved after each of them."""

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bandloom.errors import OutputError
from bandloom.points_file import PointsFile
from bandloom.view.class_map import MapClass

KEYS = "1234567890qwertyiopasdfghjklvnm"  # those left over mean unsure, bright, comment, undo
COLUMNS = ("class", "unsure", "comment")


@dataclass(frozen=True)
class Answer:
    """What was said about one point; no name means that nothing was."""

    name: str | None = None
    unsure: bool = False
    comment: str = ""


class Session:
    """Points with the answers that were given, on disk as they are here."""

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
            Answer(self._name(name), str(unsure) in ("1", "1.0", "True"), str(comment or ""))
            for name, unsure, comment in zip(*held.values(), strict=True)
        ]
        self._undo: list[tuple[int, Answer]] = []
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

    def give(self, number: int, answer: Answer) -> None:
        """Take an answer and save the file.

        Raises:
            LookupError: there is no such point or class.
            OutputError: the file cannot be written, or another program has changed it.
        """
        if not 0 <= number < len(self.answers) or (answer.name is not None and answer.name not in self._names):
            raise LookupError(number)
        with self._lock:
            before = self.answers[number]
            self._set(number, answer)
            self._undo.append((number, before))

    def undo(self) -> int | None:
        """Take the last answer of this session back and save the file; return which point it was about.

        Raises:
            OutputError: the file cannot be written, or another program has changed it.
        """
        with self._lock:
            if not self._undo:
                return None
            number, before = self._undo[-1]
            self._set(number, before)
            self._undo.pop()
            return number

    def _set(self, number: int, answer: Answer) -> None:
        """Change one answer, here and on disk, or neither."""
        if self._stamp() != self._version:
            raise OutputError(
                f"{self.points.path} was changed by another program since it was opened; nothing was saved: start"
                " bandloom view again to go on from what it holds now."
            )
        before, self.answers[number] = self.answers[number], answer
        try:
            self._save()
        except Exception:
            self.answers[number] = before
            raise

    def _save(self) -> None:
        columns = self.points.columns
        columns["class"] = [answer.name for answer in self.answers]
        columns["unsure"] = [int(answer.unsure) for answer in self.answers]
        columns["comment"] = [answer.comment for answer in self.answers]
        self.points.write(self.points.path, overwrite=True)
        self._version = self._stamp()

    def _stamp(self) -> tuple[int, int]:
        try:
            stat = self.points.path.stat()
        except OSError:
            return 0, 0
        return stat.st_size, stat.st_mtime_ns

    def _name(self, value: Any) -> str | None:
        """Return the class that a file's value names, by its name or code; one that is unknown counts as unanswered."""
        text = "" if value is None or value != value else str(value).strip()
        by_word = {land_class.name.casefold(): land_class.name for land_class in self.classes}
        by_code = {str(land_class.value): land_class.name for land_class in self.classes}
        return by_word.get(text.casefold(), by_code.get(text.removesuffix(".0")))
