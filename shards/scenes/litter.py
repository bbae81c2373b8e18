"""Litter of copying tools among a scene's files: a Mac's ``._`` twins and __MACOSX, thumbnails, previews."""

from pathlib import PurePath

_NAMES = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini", "@eadir"}


def is_litter(path: str | PurePath) -> bool:
    """Tell whether a file or folder, or any folder that it lies in, is none of its owner's making."""
    return any(part.startswith("._") or part.lower() in _NAMES for part in PurePath(path).parts)
