"""Named label sets that ship with the project, with what a plain label set leaves out: parents, synonyms, meaning."""

from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from bandloom.classes.class_words import ClassWords, Words, whole_number
from bandloom.classes.label_set import IGNORE_INDEX, LabelClass, LabelSet, parse_label_yaml, read_label_yaml
from bandloom.errors import LabelError, nearest

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

    @cached_property
    def label_set(self) -> LabelSet:
        """The plain label set."""
        classes = tuple(LabelClass(land_class.code, land_class.name, land_class.colour) for land_class in self.classes)
        return LabelSet(self.id, classes, self.ignore)

    @cached_property
    def words(self) -> ClassWords:
        """The look-up of classes by any of their words and numbers."""
        classes = [
            Words(land_class.code, land_class.name, land_class.id or land_class.name, land_class.synonyms)
            for land_class in self.classes
        ]
        return ClassWords(self.id, classes, self.ignore)

    def find(self, text: str) -> int:
        """Return the index of the class that a person's word means: its name, id, code or a synonym, in any case.

        Raises:
            LabelError: no class is meant; the nearest name is offered.
        """
        index = self.words.find(text)
        if index == IGNORE_INDEX:
            raise LabelError(f"{text!r} means no label in label set {self.id!r}; leave it out.")
        return index

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
            classes = tuple(_class(land_class) for land_class in record["classes"])
            ignore = tuple(_whole(code, "ignored code") for code in record.get("ignore", (0,)))
            taxonomy = cls(str(record.get("id", record["name"])), str(record["name"]), classes, ignore)
        except (KeyError, TypeError, ValueError, AttributeError) as cause:
            raise LabelError(
                f"the label set {source} cannot be used ({cause!r}); it needs name and classes, each with code and"
                " name, and may have colour, id, parent, synonyms and description."
            ) from cause
        _ = taxonomy.label_set, taxonomy.words  # their checks: codes, names and colours; that no word means two classes
        return taxonomy

    def to_dict(self) -> dict[str, Any]:
        """Return plain YAML types, which :meth:`from_dict` takes; what is not given is left out."""
        colours = [land_class.colour for land_class in self.label_set.classes]
        classes = [_record(land_class, colour) for land_class, colour in zip(self.classes, colours, strict=True)]
        return {"id": self.id, "name": self.name, "ignore": list(self.ignore), "classes": classes}

    @classmethod
    def of_label_set(cls, label_set: LabelSet) -> "Taxonomy":
        """Return a label set without further words as a taxonomy."""
        classes = tuple(
            TaxonomyClass(land_class.code, land_class.name, land_class.colour) for land_class in label_set.classes
        )
        return cls(label_set.name, label_set.name, classes, label_set.ignore)


def shipped() -> list[str]:
    """Return the names of the label sets in this package."""
    folder = files("bandloom.classes") / "label_sets"
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def get_taxonomy(name: str) -> Taxonomy:
    """Return a shipped label set by name, or a user's own from the path of a YAML file.

    Raises:
        LabelError: neither a shipped name nor a readable label set.
    """
    if name in shipped():
        text = (files("bandloom.classes") / "label_sets" / f"{name}.yaml").read_text()
        return Taxonomy.from_dict(parse_label_yaml(text, name), name)
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
    if record["name"] is None or not str(record["name"]).strip():
        raise TypeError(f"the class of code {record['code']} has no name")
    given = {key: value for key, value in record.items() if key in ("colour", "parent", "description")}
    name = str(record["name"])
    synonyms = tuple(str(synonym) for synonym in record.get("synonyms", ()))
    return TaxonomyClass(
        _whole(record["code"], "code"), name, id=str(record.get("id", name)), synonyms=synonyms, **given
    )


def _whole(value: Any, what: str) -> int:
    number = whole_number(value)
    if number is None:
        raise TypeError(f"{what} {value!r} is no whole number")
    return number


def _record(each: TaxonomyClass, colour: str) -> dict[str, Any]:
    record = {"code": each.code, "name": each.name, "colour": colour}
    record |= {"id": each.id} if each.id not in ("", each.name) else {}
    record |= {"parent": each.parent} if each.parent else {}
    record |= {"synonyms": list(each.synonyms)} if each.synonyms else {}
    return record | ({"description": each.description} if each.description else {})
