"""The corpora that are read, and recognition of one by what lies under a path, without opening a sample."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bandloom.command_line.console import logger
from bandloom.errors import SceneError, nearest
from bandloom.shards.corpora.bigearthnet import BIGEARTHNET
from bandloom.shards.corpora.cloudsen12 import CLOUDSEN12
from bandloom.shards.corpora.copernicus_pretrain import COPERNICUS_PRETRAIN
from bandloom.shards.corpora.corpus import Container, Corpus
from bandloom.shards.corpora.major_tom import MAJOR_TOM
from bandloom.shards.corpora.mmearth import MMEARTH
from bandloom.shards.corpora.refused import refuse_edition
from bandloom.shards.corpora.ssl4eo_v1 import SSL4EO_V1
from bandloom.shards.corpora.ssl4eo_v11 import SSL4EO_V11
from bandloom.shards.corpora.terramesh import TERRAMESH
from bandloom.shards.scenes.litter import is_litter

_ALL = (SSL4EO_V11, SSL4EO_V1, MAJOR_TOM, TERRAMESH, COPERNICUS_PRETRAIN, MMEARTH, BIGEARTHNET, CLOUDSEN12)
CORPORA: dict[str, Corpus] = {corpus.name: corpus for corpus in _ALL}
_DEEPEST = 4  # folders below a corpus's root that hold containers: root/train/S2L1C/FILE
_WIDEST = 64  # folders looked into at each level; a corpus that has more holds containers in one of them


def get_corpus(name: str) -> Corpus:
    """Return a corpus by name.

    Raises:
        SceneError: there is none of that name.
    """
    if name not in CORPORA:
        raise SceneError(f"--corpus {name!r} is not known; use one of {', '.join(CORPORA)}.{nearest(name, CORPORA)}")
    return CORPORA[name]


def find_containers(path: Path, forced: Corpus | None = None) -> tuple[Corpus, list[Container]] | None:
    """Return the corpus that a path holds, and its containers in order; None where it is none.

    Args:
        path: a container, the folder of some, or a folder of such folders, as the set is published.
        forced: look for this corpus alone.

    Raises:
        SceneError: it is an edition that is not read, or not the corpus that was asked for.
    """
    if not path.exists():
        return None
    corpora = [forced] if forced else list(CORPORA.values())
    recognised = list(_below(path, corpora, _DEEPEST))
    names = sorted({corpus.name for corpus, _ in recognised})
    if len(names) > 1:
        raise SceneError(f"{path} holds {' and '.join(names)}; name the folder of one, or choose it with --corpus.")
    containers = [container for _, own in recognised for container in own]
    if not containers:
        if forced:
            refuse_edition(path)
            raise SceneError(f"{path} holds nothing of {forced.title}; expected {forced.looks_like}.")
        return None
    corpus = recognised[0][0]
    logger.info("%s is %s (%s): %d files or folders of samples", path, corpus.title, corpus.licence, len(containers))
    return corpus, containers


def _below(path: Path, corpora: Sequence[Corpus], deeper: int) -> Iterator[tuple[Corpus, list[Container]]]:
    for corpus in corpora:
        own = corpus.containers(path)
        if own is not None:
            yield corpus, list(own)
            return
    if not path.is_dir() or not deeper:
        return
    folders = [child for child in _first(path) if child.is_dir()]
    for folder in folders:
        yield from _below(folder, corpora, deeper - 1)


def _first(path: Path) -> list[Path]:
    children = sorted(child for child in path.iterdir() if not (is_litter(child.name) or child.name[0] == "."))
    folders = [child for child in children if child.is_dir() and not child.name.endswith(".SAFE")]
    return folders if len(folders) <= _WIDEST else []
