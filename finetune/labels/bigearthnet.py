"""BigEarthNet's patches and classes: version 1 with a JSON file each, version 2 in tiles with metadata.parquet."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bandloom.classes.label_mapping import Mapping, get_mapping
from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.classes.taxonomy import Taxonomy, get_taxonomy
from bandloom.errors import LabelError
from bandloom.finetune.labels.chips import Chip
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.table import read_parquet
from bandloom.shards.scenes import is_scene

SOURCE_SET = "bigearthnet43"  # whose names the patches of version 1 carry
METADATA = "metadata.parquet"


def from_bigearthnet(
    source: Path, taxonomy: Taxonomy, problems: Problems, *, several: bool = False, metadata: Path | None = None
) -> list[Chip]:
    """Read SOURCE/PATCH with a JSON each, or SOURCE/TILE/PATCH with metadata.parquet in SOURCE or beside it.

    Args:
        source: the folder of patches or of tiles, or the one that holds BigEarthNet-S2.
        taxonomy: the classes; with bigearthnet19, names of the 43 classes are translated, and the eleven that have no
            counterpart are left out and counted.
        problems: receives what is wrong, and what is left out.
        several: keep all classes of a patch; else patches of several are left out and counted.
        metadata: the table of version 2 where it lies elsewhere.
    """
    root = source / "BigEarthNet-S2" if (source / "BigEarthNet-S2").is_dir() else source
    patches = list(_patches(root)) if root.is_dir() else []
    if not patches:
        problems.add(
            str(source),
            "holds no patches; expected SOURCE/PATCH with one raster a band and a JSON file, or SOURCE/TILE/PATCH and"
            f" {METADATA} beside the tiles.",
        )
    table = _table(root, metadata, {patch.name for patch in patches}, problems)
    names = _Names(taxonomy)
    chips, left_out, unlisted = [], Counter[str](), 0
    for patch in patches:
        with problems.gather(str(patch)):
            listed = _names_of(patch, table)
            unlisted += listed is None
            found = sorted(names.classes(listed or []))
            if found and (several or len(found) == 1):
                chips.append(Chip(patch, found[0], tuple(found) if several else ()))
            elif listed is not None:
                left_out["several classes" if found else "no class of the label set"] += 1
    _say_left_out(str(source), len(patches), unlisted, left_out, names, problems)
    return chips


def _patches(root: Path) -> Iterator[Path]:
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if is_scene(folder):
            yield folder
        else:
            yield from (path for path in sorted(folder.iterdir()) if path.is_dir() and is_scene(path))


def _table(root: Path, given: Path | None, patches: set[str], problems: Problems) -> dict[str, Any] | None:
    """Return the labels of version 2 by patch, or None where there is no table."""
    places = [given] if given else [root / METADATA, root.parent / METADATA]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        if given:
            raise LabelError(f"{given} does not exist; --labels takes BigEarthNet's {METADATA}.")
        return None
    table = {str(row["patch_id"]): row["labels"] for row in read_parquet(path, ("patch_id", "labels"))}
    absent = len(set(table) - patches)
    if absent:
        problems.add(str(path), f"lists {absent} patches that are not there; they are left out.", "warning")
    return table


def _names_of(patch: Path, table: dict[str, Any] | None) -> list[str] | None:
    """Return the names of a patch's classes, or None for one that the table does not list.

    Raises:
        LabelError: there is neither a JSON file nor a table, or they hold no list of names.
    """
    files = sorted(path for path in patch.glob("*.json") if not path.name.startswith("."))
    if not files and table is None:
        raise LabelError(f"{patch} has no JSON file with its labels, and there is no {METADATA} beside the patches.")
    if not files and table is not None:
        return _checked(table[patch.name], f"{METADATA}, patch {patch.name},") if patch.name in table else None
    try:
        return _checked(json.loads(files[0].read_text("utf-8-sig"))["labels"], str(files[0]))
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise LabelError(f"{files[0]} holds no list under 'labels' ({cause!r}).") from cause


def _checked(labels: Any, where: str) -> list[str]:
    if not isinstance(labels, list) or not labels:
        raise LabelError(f"{where} holds {labels!r} under 'labels'; expected a list of class names.")
    return [str(label) for label in labels]


class _Names:
    """Finds classes by BigEarthNet's names, its 43 classes by the shipped mapping, and counts what is dropped."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy, self.dropped = taxonomy, Counter[str]()
        self._mapping = _shipped_mapping(taxonomy)

    def classes(self, names: list[str]) -> set[int]:
        """Return the indices of the classes of one patch.

        Raises:
            LabelError: a name is known to neither label set.
        """
        found = {self._find(name) for name in names}
        return found - {IGNORE_INDEX}

    def _find(self, name: str) -> int:
        try:
            return self.taxonomy.find(name)
        except LabelError:
            if self._mapping is None:
                raise
            try:
                place = self._mapping.source.find(name)
            except LabelError:
                place = None
            if place is None:
                raise
        index = int(self._mapping.index[place])
        self.dropped[self._mapping.source.classes[place].name] += index == IGNORE_INDEX
        return index


def _shipped_mapping(taxonomy: Taxonomy) -> Mapping | None:
    try:
        shipped = get_mapping(SOURCE_SET, taxonomy.id)
        return shipped if get_taxonomy(taxonomy.id) == taxonomy else None
    except LabelError:
        return None


def _say_left_out(
    where: str, patches: int, unlisted: int, left_out: Counter[str], names: _Names, problems: Problems
) -> None:
    for name, count in sorted(names.dropped.items()):
        if count:
            what = f"{count} patches show {name!r}, which has no class in {names.taxonomy.id}: that label is left out."
            problems.add(where, what, "warning")
    if left_out["no class of the label set"]:
        count = left_out["no class of the label set"]
        problems.add(where, f"{count} of {patches} patches have no other class and are left out.", "warning")
    if left_out["several classes"]:
        count = left_out["several classes"]
        problems.add(where, f"{count} of {patches} patches have several classes and are left out.", "warning")
    if unlisted:
        what = f"{unlisted} of {patches} patches are not in {METADATA} and are left out."
        problems.add(where, what, "warning" if unlisted < patches else "error")
