"""From a folder of a public encoder, as its authors publish it or as we store it, to the encoder."""

import json
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from bandloom.command_line.console import logger
from bandloom.errors import CheckpointError
from bandloom.model.statistics import Statistics
from bandloom.public_encoders.family import families, get_family
from bandloom.public_encoders.public_encoder import PublicConfig, PublicEncoder

CODE = {  # family: where its network is; the first one whose files a folder holds is taken
    "galileo": ("bandloom.public_encoders.galileo", "Galileo"),
    "olmoearth": ("bandloom.public_encoders.olmoearth", "OlmoEarth"),
    "terramind": ("bandloom.public_encoders.terramind", "TerraMind"),
    "terramind_l1c": ("bandloom.public_encoders.terramind_l1c", "TerraMindL1C"),
    "prithvi": ("bandloom.public_encoders.prithvi", "Prithvi"),
    "clay": ("bandloom.public_encoders.clay", "Clay"),
    "dofa": ("bandloom.public_encoders.dofa", "Dofa"),
    "croma": ("bandloom.public_encoders.croma", "Croma"),
    "dinov3": ("bandloom.public_encoders.dinov3", "Dinov3"),
    "ssl4eo": ("bandloom.public_encoders.ssl4eo", "Ssl4eo"),
    "ssl4eo_resnet": ("bandloom.public_encoders.ssl4eo_resnet", "Ssl4eoResnet"),
}
ORIGIN = "origin.json"  # what fetching leaves beside the files


def is_public(folder: Path) -> bool:
    """Tell whether a folder holds a public encoder as its authors publish it."""
    return family_of(folder) is not None


def family_of(folder: Path) -> str | None:
    """Return the family whose files a folder holds, or None; the one that was fetched where ``origin.json`` says it."""
    told = _fetched_family(folder)
    if told is not None:
        return told
    return next((family for family, (module, _) in CODE.items() if import_module(module).is_folder(folder)), None)


def _fetched_family(folder: Path) -> str | None:
    try:
        told = json.loads((folder / ORIGIN).read_text()).get("family")
    except (OSError, ValueError, AttributeError):
        return None
    return told if told in CODE else None


def read_public(
    folder: Path, patch_px: int | None = None, month: int | None = None, family: str | None = None
) -> PublicEncoder:
    """Read a public encoder from its authors' files, and say once under which licence.

    Args:
        folder: that holds them.
        patch_px: pixels a side of a token; None: the record's.
        month: the constant month of families that have one, 0 is January; None: the record's.
        family: where several share their files, as ``terramind`` and ``terramind_l1c``; None: by the files.

    Raises:
        CheckpointError: no family is recognised, or the files cannot be used.
    """
    family = get_family(family).family if family is not None else family_of(folder)
    if family is None:
        raise CheckpointError(_why_none(folder))
    say_licence(family)
    return import_module(CODE[family][0]).read(folder, patch_px, month)


def public_from_record(record: Mapping[str, Any], statistics: Statistics) -> PublicEncoder:
    """Build a public encoder with random weights as ``config.json`` says, and say once under which licence.

    Raises:
        CheckpointError: the family is not known.
    """
    config = PublicConfig(**record)
    say_licence(config.family)
    module, name = CODE[config.family]
    return getattr(import_module(module), name)(config, statistics)


@cache
def say_licence(family: str) -> None:
    """Show a family's licence and conditions, once a process."""
    logger.info("%s", get_family(family).notice())


def _why_none(folder: Path) -> str:
    """Say why a folder is no public encoder, with the folder that is meant where that can be told."""
    if not folder.exists():
        return f"there is no folder {folder}; pass the folder of a public encoder."
    if not folder.is_dir():
        meant = "; pass its folder" if is_public(folder.parent) else "; pass the folder of a public encoder"
        return f"{folder} is a file{meant}."
    inside = [inner for inner in sorted(folder.iterdir()) if inner.is_dir() and is_public(inner)]
    if inside:
        return f"{folder} holds no public encoder itself; pass {' or '.join(map(str, inside[:3]))}."
    known = "; ".join(f"{name}: {', '.join(_file_names(name))}" for name in CODE)
    return (
        f"{folder} holds no public encoder that is known here: files go by the names under which they are published"
        f" ({known})."
    )


def _file_names(family: str) -> list[str]:
    return list(next(iter(families()[family].sizes.values())).files)
