"""Finds the scenes that a user names: files, scene folders, folders of scenes, chips in class folders."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bandloom.classes.label_set import LabelClass, LabelSet
from bandloom.errors import SceneError
from bandloom.shards.corpora.known import find_containers, get_corpus
from bandloom.shards.corpora.refused import refuse_edition
from bandloom.shards.scenes import is_scene
from bandloom.shards.scenes.litter import is_litter
from bandloom.shards.scenes.readers.plain import RASTER_SUFFIXES
from bandloom.shards.scenes.readers.product import PACKED, names_inside
from bandloom.shards.scenes.readers.stac import items_of, split_item


@dataclass(frozen=True)
class Source:
    """One scene to shard, or a corpus's container of many.

    Attributes:
        path: where it lies.
        key: unique, without dots.
        class_name: its class when it is a chip of one.
        corpus: the corpus that it is a container of.
        inner: the part of a container that is meant; None: all of it.
        expected: about how many squares a container gives.
        published: its role (train, val or test) by the name of a published split; None: not of a labelled set.
    """

    path: str
    key: str
    class_name: str | None = None
    corpus: str | None = None
    inner: str | None = None
    expected: int | None = None
    published: Mapping[str, str] | None = None


def find_sources(paths: Sequence[str], class_folders: bool = False, sensor: str | None = None) -> list[Source]:
    """Return the scenes under ``paths`` in a fixed order.

    Args:
        paths: scenes, or folders of scenes (looked through to any depth).
        class_folders: the folders right under ``paths`` are classes and hold chips.
        sensor: whose bands the single-band rasters of a scene folder are; None: Sentinel-2's.

    Raises:
        SceneError: a path does not exist or holds no scene.
    """
    sources: list[tuple[str, str | None]] = []
    for text in paths:
        scenes = _class_chips(Path(text), sensor) if class_folders else [(p, None) for p in _scenes_under(text, sensor)]
        if not scenes:
            raise _nothing_in(Path(text))
        sources += scenes
    unique = dict(sources)
    return [Source(path, key, unique[path]) for path, key in _keys(list(unique)).items()]


def find_build_sources(
    paths: Sequence[str], class_folders: bool, sensor: str | None, corpus: str | None, labelled: bool = False
) -> list[Source]:
    """Return the scenes under ``paths``, and the containers of those that are public corpora, in a fixed order.

    Args:
        paths: scenes, folders of scenes, or corpora in their published layout.
        class_folders: as in :func:`find_sources`; no corpus is looked for then.
        sensor: as in :func:`find_sources`.
        corpus: the corpus that all paths are; None: recognised by what lies in them.
        labelled: labels are joined by the names of scenes; a corpus is looked for where it is named alone.

    Raises:
        SceneError: a path does not exist or holds no scene, or an edition of a corpus that is not read.
    """
    forced = get_corpus(corpus) if corpus else None
    sources: list[Source] = []
    plain: list[str] = []
    for text in paths:
        looked_for = Path(text).exists() and (forced is not None or not (class_folders or labelled))
        known = find_containers(Path(text), forced) if looked_for else None
        if known is None:
            plain.append(text)
            continue
        kind, containers = known
        sources += [
            Source(container.path, "", None, kind.name, container.inner, container.samples) for container in containers
        ]
    if plain and not sources:
        return _find_scenes(plain, class_folders, sensor)
    return _keyed(sources + (_find_scenes(plain, class_folders, sensor) if plain else []))


def _find_scenes(paths: Sequence[str], class_folders: bool, sensor: str | None) -> list[Source]:
    """Return the scenes under paths; where there is none, an edition of a corpus that is not read is named as such."""
    try:
        return find_sources(paths, class_folders, sensor)
    except SceneError:
        for path in map(Path, paths):
            if path.exists():
                refuse_edition(path)
        raise


def _keyed(sources: Sequence[Source]) -> list[Source]:
    """Name containers, and scenes beside them, by the shortest tail of their paths that no other shares."""
    unique = {_address(source): source for source in sources}
    return [replace(unique[address], key=key) for address, key in _keys(list(unique)).items()]


def _address(source: Source) -> str:
    """Return a container's path without its ending and without dots, which the end of a name would be taken for."""
    if source.corpus is None:
        return source.path
    path = source.path
    for suffix in (".zip", ".zarr", ".tar", ".parquet", ".h5"):
        path = path.removesuffix(suffix)
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.replace('.', '-')}" + (f"/{source.inner}" if source.inner else "")


def _nothing_in(path: Path) -> SceneError:
    """Say what a path without a scene is, where its name or its files tell, and what makes a scene of it."""
    inside = names_inside(path)
    packed = next((name for name in inside if name.lower().endswith(PACKED)), None)
    if packed and not path.is_dir():
        return SceneError(f"{path} was packed twice: it holds {packed}; unpack it once and name what comes out.")
    if path.name.lower().endswith(PACKED):
        return SceneError(
            f"{path} holds no Sentinel-2 or Landsat product ({len(inside)} files); unpack it and name the folder."
        )
    return SceneError(f"{path} holds no scene; expected rasters ({', '.join(RASTER_SUFFIXES)}) or scene folders.")


def class_label_set(sources: Sequence[Source]) -> LabelSet:
    """Return the label set that class folders make: codes 1, 2, ... by name."""
    names = sorted({source.class_name for source in sources if source.class_name})
    return LabelSet("class-folders", tuple(LabelClass(i + 1, name) for i, name in enumerate(names)))


def _scenes_under(text: str, sensor: str | None) -> list[str]:
    path = Path(text)
    if text.startswith("/vsi") or "://" in text:
        return [text]
    if items := items_of(path):
        return items
    if is_scene(path, sensor):
        return [text]
    if not path.exists():
        raise SceneError(f"{path} does not exist; check the path.")
    return _inside(path, sensor)


def _below(path: Path, sensor: str | None) -> list[str]:
    if items := items_of(path):
        return items
    if is_scene(path, sensor):
        return [str(path)]
    return _inside(path, sensor)


def _inside(path: Path, sensor: str | None) -> list[str]:
    if not path.is_dir():
        return []
    children = (child for child in sorted(path.iterdir()) if not is_litter(child.name))
    return [scene for child in children for scene in _below(child, sensor)]


def _class_chips(path: Path, sensor: str | None) -> list[tuple[str, str | None]]:
    if not path.is_dir():
        raise SceneError(f"{path} is no folder; --class-folders expects PATH/CLASS/chip.tif.")
    folders = [child for child in sorted(path.iterdir()) if child.is_dir() and not is_litter(child.name)]
    return [(scene, folder.name) for folder in folders for scene in _inside(folder, sensor)]


def _keys(paths: list[str]) -> dict[str, str]:
    """Name every scene by the shortest tail of its path that no other shares."""
    parts = {
        path: [_slug(part) for part in _without_suffix(path).parts if part not in ("/", "..", ".")] for path in paths
    }
    depth = dict.fromkeys(paths, 1)
    while True:
        keys = {path: "_".join(parts[path][-depth[path] :]) for path in paths}
        times = Counter(keys.values())
        clashes = {path for path in paths if times[keys[path]] > 1}
        longer = [path for path in clashes if depth[path] < len(parts[path])]
        if not longer:
            return {path: key if path not in clashes else f"{key}_{i}" for i, (path, key) in enumerate(keys.items())}
        for path in longer:
            depth[path] += 1


def _without_suffix(path: str) -> Path:
    """Return a path without its ending; an item of a collection goes by its own name."""
    file, item = split_item(Path(path))
    return file.with_suffix("") / item if item is not None else file.with_suffix("")


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)
