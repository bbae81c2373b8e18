"""Settings of a folder of sentence-transformers: the default prompt, letter case, length, parts and their pooling."""

import json
import shutil
from pathlib import Path
from typing import Any

from bandloom.errors import TextError

LIMITS, PROMPTS, PARTS = "sentence_bert_config.json", "config_sentence_transformers.json", "modules.json"
_POOLING = "1_Pooling"  # where a folder without a list of its parts keeps it
_FLAGS = {  # of folders that versions before 5.4 wrote; later ones name the modes
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def limits_of(folder: Path) -> dict[str, Any]:
    """Return what a folder says of how much of a text is read, and whether its case is."""
    return _record(folder / LIMITS)


def default_prompt(folder: Path) -> str:
    """Return what is put before every text, as ``SentenceTransformer.encode`` does unless told otherwise; often ''.

    Raises:
        TextError: the folder names a prompt that it does not hold, or pools without it.
    """
    record = _record(folder / PROMPTS)
    name, prompts = record.get("default_prompt_name"), record.get("prompts") or {}
    if name is None:
        return ""
    if not isinstance(prompts, dict) or not isinstance(prompts.get(name), str):
        raise TextError(
            f"{folder / PROMPTS} names {name!r} as its default prompt, which is not among its prompts; write it there,"
            " or set default_prompt_name to null."
        )
    if prompts[name] and _record(pooling_file(folder)).get("include_prompt") is False:
        raise TextError(
            f"{folder} leaves its default prompt {prompts[name]!r} out when it pools, which is not done here; use"
            " another model, or a file of vectors that sentence-transformers made."
        )
    return prompts[name]


def parts_of(folder: Path) -> list[str]:
    """Return the kinds of a folder's parts, such as Transformer, Pooling and Normalize; none where it lists none."""
    return [str(part.get("type", "")).split(".")[-1] for part in _parts(folder)]


def pooling_modes(folder: Path) -> list[str] | None:
    """Return how a folder pools, by the names of sentence-transformers; None where it says nothing."""
    path = pooling_file(folder)
    if not path.is_file():
        return None
    record = _record(path)
    named = record.get("pooling_mode")
    if named is not None:
        return [named] if isinstance(named, str) else [str(mode) for mode in named]
    flags = [mode for key, mode in _FLAGS.items() if record.get(key)]
    unknown = [key for key, value in record.items() if key.startswith("pooling_mode") and value and key not in _FLAGS]
    return [*flags, *unknown] or ["mean"]


def pooling_file(folder: Path) -> Path:
    """Return where a folder says how it pools."""
    listed = [part.get("path") for part in _parts(folder) if str(part.get("type", "")).endswith("Pooling")]
    return folder / (str(listed[0]) if listed and listed[0] else _POOLING) / "config.json"


def read_otherwise_once(folder: Path) -> str:
    """Return what of a folder's settings earlier versions of this program left out; '' for most folders."""
    named = _record(pooling_file(folder)).get("pooling_mode")
    elsewhere = pooling_file(folder).parent.name != _POOLING
    told = [str(pooling_modes(folder))] if named is not None or elsewhere else []
    return " ".join([*told, *filter(None, [default_prompt(folder)])])


def copy_settings(source: Path, folder: Path) -> None:
    """Let a copy of a model say of how texts are read what its folder said; pooling is kept by who copies it."""
    for name in (LIMITS, PROMPTS):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _parts(folder: Path) -> list[dict[str, Any]]:
    path = folder / PARTS
    parts = _json(path) if path.is_file() else []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise TextError(f"{path} is no list of parts; copy the folder again.")
    return parts


def _record(path: Path) -> dict[str, Any]:
    record = _json(path) if path.is_file() else {}
    if not isinstance(record, dict):
        raise TextError(f"{path} holds no settings; copy the folder again.")
    return record


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise TextError(f"{path} cannot be read ({cause}); copy the folder again.") from cause
