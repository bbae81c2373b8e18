"""GEO-Bench v1 (Lacoste et al. 2023): the layout of its sets, one HDF5 a sample, its attributes a pickle never run."""

import ast
import contextlib
import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.classes.taxonomy import Taxonomy, get_taxonomy
from bandloom.draws.evenly import evenly
from bandloom.errors import BandloomError, LabelError, SceneError
from bandloom.finetune.public_sets.hdf5 import opened
from bandloom.finetune.public_sets.inert_pickle import Call, as_array, as_number, read_inert
from bandloom.finetune.public_sets.orientation import better_orientation
from bandloom.finetune.public_sets.pixels import median_of_dates, scene_of_dn, scene_of_reflectance
from bandloom.finetune.public_sets.place import LOOKED_AT, Place
from bandloom.finetune.public_sets.public_set import PublicSet, SetSample
from bandloom.finetune.public_sets.roles import note_differences, roles_of
from bandloom.shards.labels.label_array import LabelArray
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, Labels
from bandloom.shards.scenes import Scene

SAMPLE = re.compile(r"(?P<id>.+)\.hdf5")
PARTITION = "default_partition.json"
LOOKED_AT_MASKS = 20
ROLES = {"train": "train", "valid": "val", "test": "test"}
NAMES = {  # as GEO-Bench names the bands of Sentinel-2
    "B01": "01 - Coastal aerosol",
    "B02": "02 - Blue",
    "B03": "03 - Green",
    "B04": "04 - Red",
    "B05": "05 - Vegetation Red Edge",
    "B06": "06 - Vegetation Red Edge",
    "B07": "07 - Vegetation Red Edge",
    "B08": "08 - NIR",
    "B8A": "08A - Vegetation Red Edge",
    "B09": "09 - Water vapour",
    "B10": "10 - SWIR - Cirrus",
    "B11": "11 - SWIR",
    "B12": "12 - SWIR",
}
_DATED = re.compile(r"(?P<name>.+)_(?P<date>\d{4}-\d\d-\d\d)")


@dataclass(frozen=True)
class Attributes:
    """What a sample's pickle says, as far as it is needed: its label, and where it lies."""

    label: Any
    crs: CRS | None
    transform: Affine | None


class GeoBench(PublicSet):
    """One HDF5 a sample, a dataset a band; partitions as JSON. Subclasses differ in their record and their bands."""

    folder: ClassVar[str]  # its name begins so
    names: ClassVar[Mapping[str, str]] = NAMES  # of datasets by the band that they hold
    floats: ClassVar[str] = ""  # what floats mean: "dn" or "reflectance"; empty: the set stores integers

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the set's own folder: the root, or in a folder of the benchmark."""
        if root.zipped:
            return None
        for top in (root, root / "classification_v1.0", root / "segmentation_v1.0"):
            inside = [top] + [top / name for name in top.names()[:LOOKED_AT] if name.startswith(cls.folder)]
            found = [place for place in inside if place.path.name.startswith(cls.folder) and place.has(PARTITION)]
            if found:
                return found[0]
        return None

    @classmethod
    def check_take(cls, take: str | None) -> str | None:
        """Return ``median``, or a date as datasets' names carry it; None: median where there are several."""
        return take if take and re.fullmatch(r"\d{4}-\d\d-\d\d", take) else super().check_take(take)

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the samples of the default partition by id, with their roles under every partition that lies there."""
        there = {match["id"] for name in self.place.names() if (match := SAMPLE.fullmatch(name))}
        names = [name for name in self.place.names() if name.endswith("_partition.json")]
        splits = {name.removesuffix("_partition.json"): self._partition(name) for name in names}
        note_differences(there, splits["default"], "default", problems, str(self.place))
        self._check_orientation(sorted(there & set(splits["default"])), problems)
        return [
            SetSample(
                str(self.place.path / f"{sample}.hdf5"),
                re.sub(r"[^A-Za-z0-9_-]+", "-", sample),
                {split: roles[sample] for split, roles in splits.items() if sample in roles},
                self._words(sample),
            )
            for sample in sorted(there & set(splits["default"]))
        ]

    def open(self, path: str) -> Scene:
        """Open a sample's bands, all of them at 10 m, of one date or the median of several."""
        file, attributes = Path(path), _attributes(Path(path))
        dates = self._read_bands(file)
        chosen = dates if self.take in (None, "median") else {at: dates[at] for at in dates if at == self.take}
        if not chosen:
            raise SceneError(f"{file} has no bands of {self.take}; it has {', '.join(sorted(filter(None, dates)))}.")
        stacks = np.stack([np.stack([bands[name] for name in self.facts.bands]) for bands in chosen.values()])
        known = np.isfinite(stacks) & (stacks != 0)
        values, seen = median_of_dates(stacks, known) if len(stacks) > 1 else (stacks[0], known[0])
        self.check_bands(file, dict(zip(self.facts.bands, values, strict=True)))
        day = next(iter(chosen)) if len(chosen) == 1 else ""
        told: dict[str, Any] = {"known": seen, "datetime": dt.datetime.fromisoformat(day) if day else None}
        transform = _ten_metres(attributes.transform)
        if attributes.crs is not None and transform is not None:
            told |= {"crs": attributes.crs, "transform": transform}
        sensor, name = self.facts.own_sensor, str(file)
        if self.floats == "reflectance":
            return scene_of_reflectance(values, sensor, self.facts.bands, name, **told)
        whole = np.rint(np.where(seen, values, 0)).astype(np.int64)
        return scene_of_dn(whole, sensor, self.facts.bands, name, offset=self.facts.offset, **told)

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels | None:
        """Open a sample's label dataset, where the set has one a pixel."""
        if not self.facts.answer.per_pixel:
            return None
        with opened(Path(path)) as file:
            codes = np.asarray(file["label"])
        if codes.dtype.kind == "f":
            if not np.array_equal(codes, np.rint(codes)):
                raise LabelError(f"{path} holds labels that are no whole numbers; it was resampled: fetch it again.")
            codes = codes.astype(np.int64)
        return LabelArray(codes, Ground.of(scene), taxonomy, Path(path))

    def check_bands(self, path: Path, values: Mapping[str, np.ndarray]) -> None:
        """Check that the pixels agree with the record's names of bands; most sets have nothing to tell it by."""

    def word(self, index: int) -> str | None:
        """Return the class of an index of the set's labels; None: there is none."""
        classes = get_taxonomy(self.facts.label_set).classes
        return classes[index].name if 0 <= index < len(classes) else None

    def _check_orientation(self, samples: Sequence[str], problems: Problems) -> None:
        """Warn where masks fit their images better turned or mirrored: the near infrared against the classes."""
        if not self.facts.answer.per_pixel:
            return
        pairs = []
        for place in evenly(len(samples), LOOKED_AT_MASKS):
            path = self.place.path / f"{samples[int(place)]}.hdf5"
            with contextlib.suppress(BandloomError), opened(path) as file:  # what is damaged is named when it is built
                name = next(key for key in file if key.startswith(self.names["B08"]))
                values, label = np.asarray(file[name], np.float64), np.asarray(file["label"])
                codes = np.where(label == 0, IGNORE_INDEX, label).astype(np.uint8)
                pairs.append((np.where(values == 0, np.nan, values), codes))
        found = better_orientation(pairs)
        if found:
            what = f"has masks that fit their images better {found}; they are taken as they lie: look before you trust"
            problems.add(str(self.place), f"{what} its scores.", "warning")

    def _words(self, sample: str) -> tuple[str, ...]:
        """Return the classes of a sample from its pickled label: one index, or noughts and ones by index."""
        if self.facts.answer.per_pixel:
            return ()
        path = self.place.path / f"{sample}.hdf5"
        label, count = _attributes(path).label, len(get_taxonomy(self.facts.label_set).classes)
        if not self.facts.answer.several:
            index = as_number(label)
            shown = [] if index is None else [index]
        else:
            present = as_array(label)
            whole = present is not None and present.shape == (count,) and np.isin(present, (0, 1)).all()
            shown = np.flatnonzero(present).tolist() if whole and present is not None else []
        words = [self.word(index) for index in shown]
        if not words or None in words:
            raise LabelError(f"{path} holds the label {label!r}, which is no class of {self.facts.title}.")
        return tuple(word for word in words if word)

    def _partition(self, name: str) -> dict[str, str]:
        try:
            record = json.loads(self.place.text(name))
            lists = {ROLES[role]: [str(each) for each in ids] for role, ids in record.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as cause:
            raise LabelError(
                f"{self.place}/{name} is no partition ({cause!r}); expected lists under train, valid and test."
            ) from cause
        return roles_of(lists, f"{self.place}/{name}")

    def _read_bands(self, path: Path) -> dict[str, dict[str, np.ndarray]]:
        """Return ``(H, W)`` by date and band; the date is empty where names of datasets carry none."""
        wanted = {self.names[band]: band for band in self.facts.bands}
        dates: dict[str, dict[str, np.ndarray]] = {}
        with opened(path) as file:
            for key in file:
                dated = _DATED.fullmatch(key)
                name, day = (dated["name"], dated["date"]) if dated else (key, "")
                if name in wanted:
                    dates.setdefault(day, {})[wanted[name]] = np.asarray(file[key])
        for day, bands in dates.items() or (("", {}),):
            missing = [self.names[band] for band in self.facts.bands if band not in bands]
            if missing:
                when = f" of {day}" if day else ""
                raise SceneError(f"{path} lacks the band {missing[0]!r}{when} of {self.facts.title}; fetch it again.")
        arrays = [array for bands in dates.values() for array in bands.values()]
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
            raise SceneError(f"{path} holds bands of the shapes {sorted(shapes)}; expected one grid for all of them.")
        kinds = {array.dtype.kind for array in arrays}
        if kinds - ({"f"} if self.floats == "reflectance" else set("iuf") if self.floats else set("iu")):
            kind = "floats" if "f" in kinds else "integers"
            raise SceneError(f"{path} stores {kind}, unlike {self.facts.title} as published; fetch that edition.")
        return dates


def _attributes(path: Path) -> Attributes:
    """Read a sample's label and place from the text of its pickle.

    Raises:
        LabelError: there is none, or it cannot be read.
    """
    with opened(path) as file:
        text = file.attrs.get("pickle")
    try:
        content = ast.literal_eval(text.decode() if isinstance(text, bytes) else str(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as cause:
        raise LabelError(f"{path} has no pickle of attributes; fetch it again.") from cause
    if not isinstance(content, bytes):
        raise LabelError(f"{path} has no pickle of attributes but {type(content).__name__}; fetch it again.")
    record = read_inert(content, str(path))
    if not isinstance(record, dict):
        raise LabelError(f"{path} pickles {type(record).__name__}; expected a dict of attributes.")
    band = next((each for each in record.values() if isinstance(each, dict) and "transform" in each), {})
    try:
        return Attributes(record.get("label"), _crs_of(band.get("crs")), _transform_of(band.get("transform")))
    except RecursionError as cause:
        raise LabelError(f"{path} pickles a coordinate system that holds itself; fetch it again.") from cause


def _crs_of(value: Any) -> CRS | None:
    """Return the coordinate system whose text lies anywhere in a pickled one."""
    for text in _texts(value):
        if re.match(r"(PROJCS|GEOGCS|PROJCRS|GEOGCRS|EPSG:)", text, re.IGNORECASE):
            try:
                return CRS.from_string(text)
            except CRSError:
                continue
    return None


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, bytes):
        return [value.decode("utf-8", "replace")]
    if isinstance(value, Call):
        return _texts(value.arguments) + _texts(value.state)
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    return [text for item in value for text in _texts(item)] if isinstance(value, list | tuple) else []


def _transform_of(value: Any) -> Affine | None:
    if isinstance(value, Call) and value.name == "Affine":
        value = value.arguments
    if isinstance(value, list | tuple) and len(value) >= 6 and all(isinstance(each, int | float) for each in value[:6]):
        return Affine(*value[:6])
    return None


def _ten_metres(transform: Affine | None) -> Affine | None:
    """Return a transform of 10 m pixels from one of about 10 m, as EuroSAT's are; None for any other."""
    if transform is None or transform.b or transform.d or not (9.9 < transform.a < 10.1 and 9.9 < -transform.e < 10.1):
        return None
    return Affine(10, 0, transform.c, 0, -10, transform.f)
