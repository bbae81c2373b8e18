"""Captions that a user brings: a CSV with the columns key and caption, any number of rows a sample."""

import csv
from collections.abc import Collection, Iterable
from pathlib import Path

from bandloom.command_line.console import logger
from bandloom.errors import TextError
from bandloom.files.csv_rows import NamedRows
from bandloom.finetune.text.captions.directions import without_directions


def read_captions(path: Path, keys: Collection[str], *, turned: bool) -> dict[str, list[str]]:
    """Return captions by sample key.

    Args:
        path: the CSV.
        keys: of the samples that may be captioned.
        turned: images are turned and mirrored, so words of direction are taken out.

    Raises:
        TextError: the file lacks a column, a caption is empty, or no key is known.
    """
    rows = read_rows(path, "caption")
    empty = [line for line, _, caption in rows if not caption.strip()]
    if empty:
        raise TextError(f"{path} has {len(empty)} empty captions, the first in line {empty[0]}; write or remove them.")
    unknown = [key for _, key, _ in rows if key not in keys]
    if len(unknown) == len(rows):
        held = next(iter(keys), "none")
        raise TextError(
            f"none of the {len(rows)} keys in {path} (such as {unknown[0] if unknown else ''!r}) is in the"
            f" shards (theirs are like {held!r}); `bandloom shards info` names them."
        )
    if unknown:
        logger.warning(
            "%d of %d captions are of samples that the shards do not hold, such as %s",
            len(unknown),
            len(rows),
            unknown[0],
        )
    return kept_captions(((key, caption) for _, key, caption in rows if key in keys), turned=turned)


def kept_captions(rows: Iterable[tuple[str, str]], *, turned: bool) -> dict[str, list[str]]:
    """Return captions by sample key, without words of direction where they would come to lie.

    Args:
        rows: sample keys and captions.
        turned: images are turned and mirrored.
    """
    by_key: dict[str, list[str]] = {}
    changed = dropped = 0
    for key, caption in rows:
        kept = without_directions(caption) if turned else " ".join(caption.split())
        changed += kept != " ".join(caption.split())
        if kept:
            by_key.setdefault(key, []).append(kept)
        else:
            dropped += 1
    if changed:
        logger.info("words of direction were taken out of %d captions, since images are turned and mirrored", changed)
    if dropped:
        logger.warning("%d captions held nothing but directions and were dropped", dropped)
    return by_key


def read_rows(path: Path, column: str) -> list[tuple[int, str, str]]:
    """Return line number, key and text of a CSV's rows.

    Args:
        path: the CSV.
        column: the name of the text's column, beside ``key``.

    Raises:
        TextError: the file cannot be read, lacks a column or has it twice, or a row has more cells than the header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = NamedRows(file)
            for name in ("key", column):
                if name not in rows.names:
                    raise TextError(
                        f"{path} has no column {name!r} (it has {', '.join(rows.names) or 'none'}); the first"
                        f" line must name the columns key and {column}."
                    )
            rows.require_once("key", column)
            return [(line, row["key"].strip(), row[column]) for line, row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise TextError(f"{path} cannot be read ({cause}); expected a UTF-8 CSV.") from cause
