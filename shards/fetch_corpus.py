"""``bandloom shards fetch --corpus``: the files of a public corpus from its hub, in parts, each compared with its sum.

The commit is pinned when the files are listed; a file that is there whole is not fetched again.
"""

import fnmatch
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandloom.command_line.console import logger, track
from bandloom.errors import MissingExtraError, OutputError, SceneError
from bandloom.files.output import disk_refusal
from bandloom.shards.corpora.known import get_corpus

_CHUNK = 2**24


@dataclass(frozen=True)
class HubFile:
    """A file on a hub: its path there, its bytes, and the sha256 that the hub states of large ones."""

    path: str
    bytes: int
    sha256: str | None


@dataclass(frozen=True)
class CorpusOffer:
    """What a hub has of a corpus: the commit that is pinned, and the files of one part."""

    repository: str
    commit: str
    licence: str
    files: tuple[HubFile, ...]

    @property
    def bytes(self) -> int:
        """The bytes of all files."""
        return sum(file.bytes for file in self.files)


def look_up(
    name: str, part: tuple[int, int] = (0, 1), repository: str | None = None, only: str | None = None
) -> CorpusOffer:
    """Ask the hub which files of a corpus there are, and return every n-th of them in order of their paths.

    Args:
        name: the corpus, as ``--corpus`` names it.
        part: (i, n): every n-th file from number i, counted from 0.
        repository: another than the corpus's own, such as that of its other level.
        only: a pattern of paths, such as ``train/S2L2A/*``, in the place of all files that are read.

    Raises:
        SceneError: the corpus is on no hub, the hub does not answer, or has no such file.
    """
    corpus = get_corpus(name)
    place = repository or corpus.repository
    if place is None:
        raise SceneError(
            f"{corpus.title} is not published on the Hugging Face hub in the edition that is read; docs/corpora.md says"
            " where it is, or name a copy with --repository OWNER/NAME."
        )
    hub = _hub()
    try:
        client = hub.HfApi()
        commit = client.repo_info(place, repo_type="dataset").sha
        listed = [
            HubFile(each.path, each.size, None if each.lfs is None else each.lfs.sha256)
            for each in client.list_repo_tree(place, repo_type="dataset", revision=commit, recursive=True)
            if isinstance(each, hub.hf_api.RepoFile)
        ]
    except Exception as cause:  # whatever the client raises
        raise _refused(place, cause) from cause
    patterns = (only,) if only else corpus.wanted
    kept = sorted((file for file in listed if _matches(file.path, patterns)), key=lambda file: file.path)
    if not kept:
        raise SceneError(f"{place} has no file like {' or '.join(patterns)} ({len(listed)} others); check --only.")
    return CorpusOffer(place, commit, corpus.licence, tuple(kept[part[0] :: part[1]]))


def fetch(offer: CorpusOffer, out: Path) -> list[Path]:
    """Fetch what was offered into ``out``, under its paths on the hub; return the files.

    Raises:
        SceneError: the hub does not give a file, or gives another than it stated.
    """
    hub, done = _hub(), []
    for file in track(offer.files, "files"):
        target = out / file.path
        if not _is_whole(target, file):
            try:
                hub.hf_hub_download(
                    offer.repository, file.path, repo_type="dataset", revision=offer.commit, local_dir=str(out)
                )
            except Exception as cause:
                raise _refused(offer.repository, cause) from cause
            if not _is_whole(target, file):
                target.unlink(missing_ok=True)
                raise SceneError(f"{file.path} arrived with other bytes than {offer.repository} states; run it again.")
        done.append(target)
    logger.info("%s is under %s", offer.repository, offer.licence)
    return done


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _is_whole(path: Path, file: HubFile) -> bool:
    """Tell whether a file is there with the bytes that the hub states."""
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    if file.sha256 is None:
        return True
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == file.sha256


def _hub() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as cause:
        raise MissingExtraError("huggingface_hub", "train") from cause
    return huggingface_hub


def _refused(place: str, cause: Exception) -> SceneError | OutputError:
    if (refused := disk_refusal(Path(_hub().constants.HF_HUB_CACHE), cause)) is not None:
        return refused
    why = " ".join(str(cause).split())[:200] or type(cause).__name__
    if type(cause).__name__ == "OfflineModeIsEnabled":
        why = "HF_HUB_OFFLINE is set: unset it to fetch"
    return SceneError(
        f"{place} cannot be fetched ({why}); check the network and --repository, or `hf auth login` where it asks"
        " for an account."
    )
