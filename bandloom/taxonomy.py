"""Named label sets that ship with the project, with what a plain label set leaves out: parents, synonyms, meaning."""

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from bandloom.errors import LabelError, nearest
from bandloom.label_set import LabelClass, LabelSet, read_label_yaml

CLASS_KEYS = {"code", "name", "colour", "id", "parent", "synonyms", "description"}


@dataclass(frozen=True)
class TaxonomyClass:
    """One class with its place and its words.

    Args:
        code: raster code, 0 to 254.
        name: the name in the source's own spelling.
        colour: ``#rrggbb``; without one the label set gives it one.
        id: the source's own code, such as CORINE's 311; the name where it has none.
        parent: name of the class one level up, in the next coarser set.
        synonyms: other words for it, for text alignment and for reading other people's labels.
        description: what belongs to it.
    """

    code: int
    name: str
    colour: str = ""
    id: str = ""
    parent: str | None = None
    synonyms: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Taxonomy:
    """A label set with meaning; :attr:`label_set` is the part that models and shards carry."""

    id: str
    name: str
    classes: tuple[TaxonomyClass, ...]
    ignore: tuple[int, ...] = field(default=(0,))

    @property
    def label_set(self) -> LabelSet:
        """The plain label set."""
        classes = tuple(LabelClass(each.code, each.name, each.colour) for each in self.classes)
        return LabelSet(self.id, classes, self.ignore)

    def find(self, text: str) -> int:
        """Return the index of the class that a person's word means: its name, id, code or a synonym, in any case.

        Raises:
            LabelError: no class is meant; the nearest name is offered.
        """
        words = self._words()
        wanted = _folded(text)
        if wanted not in words:
            names = [each.name for each in self.classes]
            raise LabelError(
                f"{text!r} is no class of label set {self.id!r} ({', '.join(names)}); rename it, add it to the label"
                f" set, or list it under ignore.{nearest(text, names)}"
            )
        return words[wanted]

    def _words(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for index, each in enumerate(self.classes):  # names win over ids, ids over synonyms, earlier classes over later
            for word in (each.name, each.id, str(each.code), *each.synonyms):
                found.setdefault(_folded(word), index)
        names = {_folded(each.name): index for index, each in enumerate(self.classes)}
        return found | names

    @classmethod
    def from_dict(cls, record: Any, source: str) -> "Taxonomy":
        """Build from a YAML record; a plain label set's record is one too.

        Raises:
            LabelError: a key is missing, unknown or of the wrong kind.
        """
        try:
            extra = set(record) - {"id", "name", "classes", "ignore"}
            if extra:
                raise TypeError(f"unknown key {sorted(extra)[0]!r}")
            classes = tuple(_class(each) for each in record["classes"])
            ignore = tuple(int(code) for code in record.get("ignore", (0,)))
            taxonomy = cls(str(record.get("id", record["name"])), str(record["name"]), classes, ignore)
        except (KeyError, TypeError, ValueError, AttributeError) as cause:
            raise LabelError(
                f"the label set {source} cannot be used ({cause!r}); it needs name and classes, each with code and"
                " name, and may have colour, id, parent, synonyms and description."
            ) from cause
        _ = taxonomy.label_set  # its checks: codes, names and colours
        return taxonomy

    @classmethod
    def of_label_set(cls, label_set: LabelSet) -> "Taxonomy":
        """Return a label set without further words as a taxonomy."""
        classes = tuple(TaxonomyClass(each.code, each.name, each.colour) for each in label_set.classes)
        return cls(label_set.name, label_set.name, classes, label_set.ignore)


def shipped() -> list[str]:
    """Return the names of the label sets in this package."""
    folder = files("bandloom") / "label_sets"
    return sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml"))


def get_taxonomy(name: str) -> Taxonomy:
    """Return a shipped label set by name, or a user's own from the path of a YAML file.

    Raises:
        LabelError: neither a shipped name nor a readable label set.
    """
    if name in shipped():
        text = (files("bandloom") / "label_sets" / f"{name}.yaml").read_text()
        return Taxonomy.from_dict(yaml.safe_load(text), name)
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise LabelError(
            f"label set {name!r} is not known; use one of {', '.join(shipped())}, or the path of your own ending in"
            f" .yaml.{nearest(name, shipped())}"
        )
    return Taxonomy.from_dict(read_label_yaml(path), str(path))


def _class(record: dict[str, Any]) -> TaxonomyClass:
    extra = set(record) - CLASS_KEYS
    if extra:
        raise TypeError(f"unknown class key {sorted(extra)[0]!r}")
    if not isinstance(record["code"], int) or isinstance(record["code"], bool):
        raise TypeError(f"code {record['code']!r} is no whole number")
    given = {key: value for key, value in record.items() if key in ("colour", "parent", "description")}
    name = str(record["name"])
    synonyms = tuple(str(each) for each in record.get("synonyms", ()))
    return TaxonomyClass(record["code"], name, id=str(record.get("id", name)), synonyms=synonyms, **given)


def _folded(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
