"""Chips with one class each: class folders, or a table of paths and labels."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from bandloom.classes.taxonomy import Taxonomy
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.table import read_csv, read_parquet
from bandloom.shards.scenes import is_scene

FEW_CHIPS = 5  # a class with fewer cannot be split three ways


@dataclass(frozen=True)
class Chip:
    """One chip: its raster or band folder, and the index of its class; of several classes the first, and all."""

    path: Path
    class_index: int
    classes: tuple[int, ...] = ()


def from_folders(source: Path, taxonomy: Taxonomy, problems: Problems) -> list[Chip]:
    """Read SOURCE/CLASS/chip.tif; the folder's name is any word of its class."""
    chips = []
    folders = sorted(path for path in source.iterdir() if path.is_dir()) if source.is_dir() else []
    if not folders:
        problems.add(str(source), "holds no class folders; expected SOURCE/CLASS/chip.tif.")
    for folder in folders:
        found = [path for path in sorted(folder.iterdir()) if is_scene(path)]
        if not found:
            problems.add(str(folder), "is a class without chips; add rasters, or remove the folder.")
        with problems.gather(str(folder)):
            index = taxonomy.find(folder.name)
            chips += [Chip(path, index) for path in found]
    return chips


def from_table(source: Path, taxonomy: Taxonomy, problems: Problems, encoding: str | None = None) -> list[Chip]:
    """Read a CSV or Parquet with the columns path and label; paths count from the table's own folder."""
    chips = []
    columns, parquet = ("path", "label"), source.suffix.lower() in (".parquet", ".pq")
    rows = enumerate(read_parquet(source, columns), 2) if parquet else read_csv(source, columns, encoding)
    for line, row in rows:
        where = f"{source.name} line {line}"
        path = source.parent / str(row["path"] or "")
        if not is_scene(path) or not path.exists():
            problems.add(where, f"{row['path']!r} is no raster beside the table; paths count from {source.parent}.")
            continue
        with problems.gather(where):
            chips.append(Chip(path, taxonomy.find(row["label"] or "")))
    return chips


def check_chips(chips: list[Chip], taxonomy: Taxonomy, problems: Problems) -> None:
    """Note classes with too few chips, and chips that lie there twice."""
    counts = Counter(index for chip in chips for index in chip.classes or (chip.class_index,))
    if len(counts) < 2:
        problems.add("the chips", f"show {len(counts)} of {len(taxonomy.classes)} classes; at least 2 are needed.")
    for index, count in sorted(counts.items()):
        if count < FEW_CHIPS:
            problems.add(
                taxonomy.classes[index].name, f"has {count} chips; {FEW_CHIPS} or more can be split.", "warning"
            )
    for same in _duplicates(chips):
        names = ", ".join(str(chip.path) for chip in same)
        several = len({chip.class_index for chip in same}) > 1
        problems.add(
            names,
            "are the same file under different classes; keep one."
            if several
            else "are the same file; a split may put one on each side: keep one.",
            "error" if several else "warning",
        )


def _duplicates(chips: list[Chip]) -> list[list[Chip]]:
    by_size: dict[int, list[Chip]] = defaultdict(list)
    for chip in chips:
        if chip.path.is_file():
            by_size[chip.path.stat().st_size].append(chip)
    by_content: dict[bytes, list[Chip]] = defaultdict(list)
    for same in by_size.values():
        for chip in same if len(same) > 1 else ():
            by_content[hashlib.sha256(chip.path.read_bytes()).digest()].append(chip)
    return [same for same in by_content.values() if len(same) > 1]
