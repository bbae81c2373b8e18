"""Cache of text vectors on disk: a text is encoded once, and cached texts need no model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.command_line.console import logger
from bandloom.files.output import new_output
from bandloom.finetune.text.text_model.sources import TextSource
from bandloom.run_state.pulse import pulse

AT_ONCE = 256  # texts between two heartbeats


class KeptVectors:
    """Vectors by text, of one source.

    Args:
        digest: of the source; see :class:`bandloom.finetune.text.text_model.sources.TextSource`.
        vectors: what is known.
    """

    def __init__(self, digest: str, vectors: dict[str, np.ndarray] | None = None) -> None:
        self.digest = digest
        self.vectors = dict(vectors or {})

    @classmethod
    def read(cls, path: Path, digest: str) -> "KeptVectors":
        """Read what an earlier call kept; a file of another source, or a damaged one, counts as empty."""
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            return cls(digest)
        try:
            with safe_open(path, framework="np") as file:
                said: dict[str, Any] = file.metadata() or {}
                if said.get("digest") != digest:
                    return cls(digest)
                return cls(digest, dict(zip(json.loads(said["texts"]), file.get_tensor("vectors"), strict=True)))
        except (SafetensorError, OSError, ValueError, KeyError) as cause:
            logger.warning("%s cannot be read (%s); its vectors are made anew", path, cause)
            return cls(digest)

    def write(self, path: Path) -> None:
        """Write all of it, atomically."""
        from safetensors.numpy import save_file

        texts = sorted(self.vectors)
        stacked = np.stack([self.vectors[text] for text in texts]) if texts else np.zeros((0, 0), np.float32)
        with new_output(path, overwrite=True) as temporary:
            save_file({"vectors": stacked}, temporary, metadata={"digest": self.digest, "texts": json.dumps(texts)})

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return the texts without a vector, each once."""
        return [text for text in dict.fromkeys(texts) if text not in self.vectors]

    def of(self, texts: Sequence[str], source: TextSource | None = None) -> np.ndarray:
        """Return vectors ``(N, D)``; the source is asked for those that are not known, which are kept then."""
        wanted = self.missing(texts) if source is not None else []
        for first in range(0, len(wanted), AT_ONCE):
            pulse("encoding captions")
            batch = wanted[first : first + AT_ONCE]
            self.vectors |= dict(zip(batch, source.encode(batch), strict=True))  # pyright: ignore[reportOptionalMemberAccess]
        return np.stack([self.vectors[text] for text in texts])
