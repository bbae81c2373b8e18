"""Provenance of an output (model, scene, reading), so that a finished one is never taken for another's."""

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio
from rasterio.errors import RasterioError

from bandloom.errors import OutputError, SceneError
from bandloom.export.bundle.bundle import Bundle, sha256_of
from bandloom.export.predict.options import PredictOptions
from bandloom.export.predict.two_dates import TwoDates

if TYPE_CHECKING:
    from bandloom.shards.scenes import Scene

TAG = "ORIGIN"  # of a GeoTIFF; a table holds the same under MEMBER
MEMBER = "bandloom:origin"
TABLES = (".json", ".geojson")
_ARCHIVE = re.compile(r"/vsi(?:zip|tar)/\{?(/?[^{}]*?\.(?:zip|tar))\}?(?:/.*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Origin:
    """The model, the reading and the scenes of one output.

    Attributes:
        model: name of the bundle, sha256 of the model's file, digest of the contract.
        reading: what the scenes were taken for, beyond what they say themselves.
        scenes: the scene, or the earlier and the later one.
    """

    model: Mapping[str, str]
    reading: Mapping[str, Any]
    scenes: tuple["SceneOrigin", ...]

    def record(self) -> dict[str, Any]:
        """Return it as JSON types, with the checksums of every file that lies on this machine.

        Raises:
            SceneError: a file has changed since the scene was opened.
        """
        return {"model": dict(self.model), "reading": dict(self.reading), "scenes": [s.record() for s in self.scenes]}

    def work(self) -> dict[str, Any]:
        """Return the same without checksums, which cost a reading: sizes and times of the files stand for them."""
        scenes = [{**scene.facts, "files": dict(scene.stamps)} for scene in self.scenes]
        return {"model": dict(self.model), "reading": dict(self.reading), "scenes": scenes}

    def difference(self, made: Mapping[str, Any]) -> str | None:
        """Say what the record of a finished output names instead of this; None where it is the same."""
        model = made.get("model") or {}
        if model != self.model:
            return f"made by another model, {_model(model)}, while this command's is {_model(self.model)}"
        if made.get("reading") != self.reading:
            return f"made with other options for reading the scene, {made.get('reading') or 'none'}"
        scenes = made.get("scenes") or []
        if len(scenes) != len(self.scenes):
            return "made of another number of scenes"
        differences = (ours.difference(theirs) for ours, theirs in zip(self.scenes, scenes, strict=True))
        return next((line for line in differences if line), None)


@dataclass(frozen=True)
class SceneOrigin:
    """One scene: what it says of itself, and its files on this machine.

    Attributes:
        facts: name, address, time, grid and how its values were read, as JSON types.
        paths: its local files, by their names within it.
        stamps: size in bytes and time of change in nanoseconds of each, when the scene was opened.
    """

    facts: Mapping[str, Any]
    paths: Mapping[str, Path]
    stamps: Mapping[str, list[int]]

    def record(self) -> dict[str, Any]:
        """Return facts, stamps and checksums."""
        files = {name: [*self.stamps[name], sha256_of(path)] for name, path in self.paths.items()}
        for name, path in self.paths.items():
            if _stamp(path) != self.stamps[name]:
                raise SceneError(f"{path} was changed while it was read; run the same command again.")
        return {**self.facts, "files": files}

    def difference(self, made: Mapping[str, Any]) -> str | None:
        """Say how the scene of a finished output differs from this one."""
        other = f"made of another scene, {made.get('source') or made.get('name')}"
        if any(made.get(name) != self.facts[name] for name in ("name", "time", "grid")):
            return other
        files: Mapping[str, list[Any]] = made.get("files") or {}
        if set(files) != set(self.paths) or (not files and made.get("source") != self.facts["source"]):
            return other
        if changed := self._changed(files):
            return f"made before {changed} was changed" if made.get("source") == self.facts["source"] else other
        read, ours = made.get("read as") or {}, self.facts["read as"]
        how = [
            f"{key} {read.get(key)}, now {ours.get(key)}" for key in {**read, **ours} if read.get(key) != ours.get(key)
        ]
        return f"made by reading the scene in another way: {'; '.join(how)}" if how else None

    def _changed(self, files: Mapping[str, list[Any]]) -> Path | None:
        """Return a file that is not what it was: its size or time differ, and then its checksum."""
        stale = [name for name in self.paths if files[name][:2] != self.stamps[name]]
        return next((self.paths[name] for name in stale if files[name][2] != sha256_of(self.paths[name])), None)


def origin_of(bundle: Bundle, scene: "Scene", options: PredictOptions, *, features: bool = False) -> Origin:
    """Return what a map, table or (``features``) embedding of a scene is made from."""
    record = bundle.record
    file = record.features.file if features and record.features else bundle.model(options.precision).file
    model = {"bundle": record.name, "sha256": record.files[file], "contract": bundle.contract.digest()}
    dates = (scene.earlier, scene.later) if isinstance(scene, TwoDates) else (scene,)
    packing = {"packing": options.packing} if features and options.packing else {}
    return Origin(model, {**options.reading, **packing}, tuple(_origin_of_scene(date) for date in dates))


def _origin_of_scene(scene: "Scene") -> SceneOrigin:
    source = str(scene.provenance.get("source", ""))
    paths = {name: path for file in _files(scene, source) for name, path in _local(file, source)}
    plain = json.loads(json.dumps({k: v for k, v in scene.provenance.items() if k != "source"}, default=str))
    facts = {
        "name": str(scene.name),
        "source": str(Path(source).resolve()) if source and Path(source).exists() else source,
        "time": scene.datetime.isoformat() if scene.datetime else None,
        "grid": [scene.crs.to_string(), *scene.transform[:6], scene.height_m, scene.width_m],
        "read as": plain,
    }
    return SceneOrigin(facts, paths, {name: _stamp(path) for name, path in paths.items()})


def _files(scene: "Scene", source: str) -> list[str]:
    """Return the files that a scene is read from, as GDAL opens them."""
    told = {file for file, _ in getattr(scene, "files", {}).values()}
    return sorted(told) or [source]


def _local(file: str, source: str) -> list[tuple[str, Path]]:
    """Return the files of this machine behind one of GDAL's names, each under its name within the scene."""
    if not source or not (Path(source).exists() or source.startswith("/vsi")):
        return []  # a server's upload, which nobody will ask for again
    if archive := _ARCHIVE.fullmatch(file):
        paths = [Path(archive[1])]
    elif file.startswith("/vsi") or "://" in file:
        return []
    else:
        paths = [Path(file), *_beside(file)]
    return [(place_in_scene(str(path), source) or path.name, path) for path in paths if path.is_file()]


def _beside(file: str) -> list[Path]:
    """Return what else GDAL reads of a raster: masks, and the sources of a virtual one; statistics do not count."""
    try:
        with rasterio.open(file) as raster:
            listed = [Path(file) for file in raster.files]
    except RasterioError:
        return []
    return [item for item in listed if item != Path(file) and not item.name.endswith((".aux.xml", ".ovr"))]


def place_in_scene(file: str, source: str) -> str | None:
    """Return where a scene's file lies in the scene: empty when it is the scene, an address elsewhere, else unknown."""
    if file == source:
        return ""
    if packed := re.match(r"/vsi(?:zip|tar)/\{.*\}/(.*)", file):
        return packed[1]
    if file.startswith("/vsi") or "://" in file:
        return file
    if not Path(source).exists():
        return None
    folder = (Path(source) if Path(source).is_dir() else Path(source).parent).resolve()
    here = Path(file).resolve()
    return here.relative_to(folder).as_posix() if here.is_relative_to(folder) else None


def _stamp(path: Path) -> list[int]:
    """Return a file's size in bytes and its time of change in nanoseconds; nothing of one that is gone."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _model(model: Mapping[str, Any]) -> str:
    return f"{model.get('bundle', '?')} ({str(model.get('sha256', '?'))[:8]})"


def read_origin(path: Path) -> dict[str, Any] | None:
    """Return what a finished map or table says it was made from; None where it does not say, or is cut off."""
    try:
        if path.suffix.lower() in TABLES:
            origin = json.loads(path.read_text()).get(MEMBER)
        else:
            with warnings.catch_warnings(action="ignore"), rasterio.open(path) as raster:
                last = ((raster.height - 1, raster.height), (raster.width - 1, raster.width))
                raster.read(window=last)  # a map's last pixels are the last bytes of its file
                origin = json.loads(raster.tags().get(TAG, "null"))
    except (OSError, ValueError, AttributeError, RasterioError):
        return None
    return origin if isinstance(origin, dict) else None


def require_same(path: Path, origin: Origin) -> None:
    """Check that a finished output is what this command would make.

    Raises:
        OutputError: it was made from something else, is damaged, or does not say from what.
    """
    made = read_origin(path)
    why = origin.difference(made) if made else "and does not say what it was made from, or is damaged"
    if why:
        raise OutputError(f"{path} is there already, {why}; remove it, or choose another --out.")
