"""A label set: the classes of a land-cover map, their raster codes, names and colours."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from bandloom.classes.class_colours import with_colours
from bandloom.errors import LabelError
from bandloom.files.yaml_once import OnceLoader

IGNORE_INDEX = 255  # a pixel without a class: no loss, no score, no vote


@dataclass(frozen=True)
class LabelClass:
    """One class: the code it has in label rasters and maps, its name, and its colour as ``#rrggbb``.

    A class without a colour gets one in its label set: see :mod:`bandloom.classes.class_colours`.
    """

    code: int
    name: str
    colour: str = ""


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of classes; a class's index (what a model predicts) is its place in ``classes``.

    ``ignore`` holds the raster codes that mean "no label", such as 0 or -1; they become :data:`IGNORE_INDEX`.
    """

    name: str
    classes: tuple[LabelClass, ...]
    ignore: tuple[int, ...] = field(default=(0,))

    def __post_init__(self) -> None:
        codes: list[Any] = [land_class.code for land_class in self.classes]
        names: list[Any] = [land_class.name for land_class in self.classes]
        if len(self.classes) < 2 or len(self.classes) > 250:
            raise LabelError(f"label set {self.name!r} has {len(self.classes)} classes; it needs 2 to 250.")
        for what, values in (("code", codes), ("name", names)):
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise LabelError(f"label set {self.name!r} gives the {what} {twice!r} to two classes; rename one.")
        if not all(0 <= code < IGNORE_INDEX for code in codes):
            outside = next(code for code in codes if not 0 <= code < IGNORE_INDEX)
            raise LabelError(
                f"label set {self.name!r} has the code {outside}, outside 0..254: maps are uint8 with 255 as no data;"
                f" give the class another code and write id: {outside}, which labels may hold in its place."
            )
        if set(codes) & set(self.ignore):
            both = sorted(set(codes) & set(self.ignore))[0]
            raise LabelError(
                f"label set {self.name!r} both names and ignores the code {both} (what names no codes to ignore ignores"
                " 0): write ignore: [] if the class has labels, or give it another code."
            )
        colours = with_colours(names, [land_class.colour for land_class in self.classes])
        object.__setattr__(self, "classes", tuple(map(_in_colour, self.classes, colours)))
        for land_class in self.classes:
            if not re.fullmatch(r"#[0-9a-fA-F]{6}", land_class.colour):
                raise LabelError(
                    f"class {land_class.name!r} has the colour {land_class.colour!r}; write it as '#rrggbb'."
                )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index."""
        return tuple(land_class.name for land_class in self.classes)

    @property
    def codes(self) -> tuple[int, ...]:
        """Raster codes by index."""
        return tuple(land_class.code for land_class in self.classes)

    @property
    def colours(self) -> tuple[str, ...]:
        """Colours by index, ``#rrggbb``."""
        return tuple(land_class.colour for land_class in self.classes)

    @cached_property
    def rgb(self) -> np.ndarray:
        """Colours by index, ``(K, 3)`` uint8."""
        return np.array([[int(c.colour[i : i + 2], 16) for i in (1, 3, 5)] for c in self.classes], np.uint8)

    def index_of(self, raster: np.ndarray, source: str = "the label raster") -> np.ndarray:
        """Translate raster codes to class indices, ``(H, W)`` uint8 with ignored codes at :data:`IGNORE_INDEX`.

        Raises:
            LabelError: a value is neither a class nor ignored; it is named.
        """
        codes = np.unique(raster)
        indices = np.full(raster.shape, IGNORE_INDEX, np.uint8)
        known = {code: index for index, code in enumerate(self.codes)} | dict.fromkeys(self.ignore, IGNORE_INDEX)
        unknown = [value for value in codes.tolist() if value not in known]
        if unknown:
            raise LabelError(
                f"{source} holds the value {unknown[0]:g}, which is not in label set {self.name!r}"
                f" (codes {', '.join(map(str, self.codes))}); add the class, or list the value under ignore."
            )
        for value in codes.tolist():
            indices[raster == value] = known[value]
        return indices

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, as manifests, checkpoints and bundles store them."""
        return {"name": self.name, "classes": [asdict(c) for c in self.classes], "ignore": list(self.ignore)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "LabelSet":
        """Build a label set from :meth:`to_dict`'s form, which is also a user's YAML.

        Raises:
            LabelError: a key is missing, unknown or of the wrong kind.
        """
        try:
            extra = set(record) - {"name", "classes", "ignore"}
            if extra:
                raise TypeError(f"unknown key {sorted(extra)[0]!r}")
            classes = tuple(LabelClass(int(c["code"]), str(c["name"]), **_colour(c)) for c in record["classes"])
            return cls(str(record["name"]), classes, tuple(int(code) for code in record.get("ignore", (0,))))
        except (KeyError, TypeError, ValueError) as cause:
            raise LabelError(
                f"this label set cannot be used ({cause!r}); it needs name and classes, each with code and name, and"
                " may have a colour a class and a list of ignored codes."
            ) from cause


def known_labels(label: np.ndarray) -> np.ndarray:
    """Return where labels are known, bool of the same shape: class indices other than 255, values that are not NaN."""
    return ~np.isnan(label) if label.dtype.kind == "f" else label != IGNORE_INDEX


def read_label_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a label set's YAML file.

    Raises:
        LabelError: the file is absent, unreadable or holds no mapping.
    """
    try:
        return parse_label_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as cause:
        raise LabelError(f"the label set {path} cannot be read ({cause}); check the path, and write UTF-8.") from cause


def parse_label_yaml(text: str, source: str) -> dict[str, Any]:
    """Return the mapping in a label set's YAML, where ``no``, ``0111`` and ``2018-01-01`` stay the words they are.

    Raises:
        LabelError: the text is no YAML or holds no mapping.
    """
    try:
        record = yaml.load(text, _WordLoader)
    except yaml.YAMLError as cause:
        why = " ".join(str(cause).split())
        raise LabelError(f"the label set {source} cannot be read ({why}); check the YAML.") from cause
    if not isinstance(record, dict):
        raise LabelError(f"the label set {source} holds no mapping; it needs the keys name and classes.")
    return record


class _WordLoader(OnceLoader):
    """Reads decimal whole numbers and null as such, and everything else as text: YAML 1.1 takes 0111 for 73."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # pyright: ignore


_WordLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_WordLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|)$"), ["~", "n", ""])
_WordLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<$"), ["<"])


def majority_classes(label: np.ndarray, side_px: int, least: float = 0.0) -> np.ndarray:
    """Return the commonest class of each square of pixels, such as a token's, ``(..., H // side_px, W // side_px)``.

    Args:
        label: class indices ``(..., H, W)``; pixels of :data:`IGNORE_INDEX` have no vote; of a tie the lower wins.
        side_px: side of a square in pixels; rows and columns that fill no square are left out.
        least: share of the square that the class must cover.

    Returns:
        int64; :data:`IGNORE_INDEX` where no pixel has a class, or none covers enough.
    """
    rows, columns = label.shape[-2] // side_px, label.shape[-1] // side_px
    whole = label[..., : rows * side_px, : columns * side_px]
    squares = whole.reshape(*label.shape[:-2], rows, side_px, columns, side_px)
    classes = np.unique(whole[whole != IGNORE_INDEX])
    if not classes.size:
        return np.full((*label.shape[:-2], rows, columns), IGNORE_INDEX)
    votes = np.stack([(squares == value).sum((-3, -1)) for value in classes], -1)
    enough = votes.max(-1) >= max(1, least * side_px**2)
    return np.where(enough, classes[votes.argmax(-1)].astype(np.int64), IGNORE_INDEX)


def _in_colour(each: LabelClass, colour: str) -> LabelClass:
    return replace(each, colour=colour)


def _colour(record: Mapping[str, Any]) -> dict[str, str]:
    extra = set(record) - {"code", "name", "colour"}
    if extra:
        raise TypeError(f"unknown class key {sorted(extra)[0]!r}")
    return {"colour": str(record["colour"])} if "colour" in record else {}
