"""PASTIS (Garnot and Landrieu 2021): 2,433 patches of France with all dates of a year, crops pixel by pixel."""

import datetime as dt
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError, SceneError
from bandloom.finetune.public_sets.pixels import median_of_dates, scene_of_dn
from bandloom.finetune.public_sets.place import Place, places_in
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.shards.labels.label_array import LabelArray
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, Labels
from bandloom.shards.scenes import Scene

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SIDE = 128
LOWEST = -1000  # reflectance -0.1: what is lower, -10000 among it, was not measured
FOLDS = 5
OFFICIAL = ("train", "train", "train", "val", "test")  # folds 1 to 5


class Pastis(PublicSet):
    """DATA_S2/S2_ID.npy, ANNOTATIONS/TARGET_ID.npy and metadata.geojson."""

    facts = Facts(
        form="pastis",
        title="PASTIS",
        task="segment",
        label_set="pastis19",
        sensor="sentinel2-l2a",
        bands=BANDS,
        units="10000 x surface reflectance by MAJA (THEIA), not Sen2Cor",
        offset=0,
        side_px=132,
        splits=("official", "fold2", "fold3", "fold4", "fold5"),
        layout="PASTIS/DATA_S2/S2_10000.npy, ANNOTATIONS/TARGET_10000.npy and metadata.geojson",
        licence="Etalab 2.0 or CC BY 4.0",
        source="https://github.com/VSainteuf/pastis-benchmark",
        size="2,433 patches of 1.3 km, about 54 GB",
        pixels="20 m bands resampled to 10 m by the source; no B01, B09, B10; below -0.1 absent",
        choices={"median": "over all dates (the usual one); or a date as 2018-09-24, or the number of one from 0"},
        unsettled=(
            "the place of the pixels: polygons are in Lambert-93 while pixels are in UTM, so samples have no place",
            "'official' trains on folds 1 to 3, validates on 4 and tests on 5; fold2 to fold5 go round from there",
        ),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder of the table."""
        places = [] if root.zipped else places_in(root, "PASTIS", "PASTIS-R")
        return next((p for p in places if not p.zipped and p.has("metadata.geojson") and p.has("DATA_S2")), None)

    @classmethod
    def check_take(cls, take: str | None) -> str | None:
        """Return ``median``, a date or a number."""
        return take if take and re.fullmatch(r"\d{4}-\d\d-\d\d|\d+", take) else super().check_take(take)

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the patches of the table in the order of their numbers."""
        samples = []
        for patch, record in sorted(self._table().items()):
            path = self.place.path / "DATA_S2" / f"S2_{patch}.npy"
            if not path.is_file() or not self._target(patch).is_file():
                problems.add(str(self.place), f"patch {patch} of the table is not there; it is left out.", "warning")
                continue
            samples.append(SetSample(str(path), f"pastis-{patch}", _roles(record.get("Fold"), patch)))
        return samples

    def open(self, path: str) -> Scene:
        """Open one date of a patch, or the median of all."""
        patch = int(Path(path).stem.rpartition("_")[2])
        stored = _array(Path(path), (None, len(BANDS), SIDE, SIDE))
        days = _days(self._table()[patch], patch)
        if len(days) != len(stored):
            raise SceneError(f"{path} has {len(stored)} dates and the table {len(days)}; fetch both again.")
        known = stored > LOWEST
        if self.take in (None, "median"):
            values, known = median_of_dates(stored, known)
            return self._scene(np.rint(values), known, path, None)
        chosen = [i for i, day in enumerate(days) if self.take in (str(i), day.date().isoformat())]
        if not chosen:
            span = f"{days[0].date()} to {days[-1].date()}, 0 to {len(days) - 1}"
            raise SceneError(f"{path} has no date {self.take}; it has {span}.")
        return self._scene(stored[chosen[0]], known[chosen[0]], path, days[chosen[0]])

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels:
        """Open a patch's crops; void (19) has no label."""
        target = self._target(int(Path(path).stem.rpartition("_")[2]))
        return LabelArray(_array(target, (3, SIDE, SIDE))[0], Ground.of(scene), taxonomy, target)

    def _scene(self, values: np.ndarray, known: np.ndarray, path: str, day: dt.datetime | None) -> Scene:
        whole = np.where(known, values, 0).astype(np.int64)
        return scene_of_dn(whole, self.facts.own_sensor, BANDS, path, known=known, datetime=day)

    def _target(self, patch: int) -> Path:
        return self.place.path / "ANNOTATIONS" / f"TARGET_{patch}.npy"

    def _table(self) -> dict[int, dict[str, Any]]:
        if not hasattr(self, "_read"):
            try:
                features = json.loads(self.place.text("metadata.geojson"))["features"]
                self._read = {int(feature["properties"]["ID_PATCH"]): feature["properties"] for feature in features}
            except (ValueError, KeyError, TypeError) as cause:
                raise LabelError(f"{self.place}/metadata.geojson is no table of patches ({cause!r}).") from cause
        return self._read


def _roles(fold: Any, patch: int) -> dict[str, str]:
    if fold not in range(1, FOLDS + 1):
        raise LabelError(f"metadata.geojson puts patch {patch} into fold {fold!r}; expected 1 to {FOLDS}.")
    turned = {f"fold{turn + 1}" if turn else "official": OFFICIAL[(fold - 1 - turn) % FOLDS] for turn in range(FOLDS)}
    return turned


def _days(record: dict[str, Any], patch: int) -> list[dt.datetime]:
    """Return the dates of a patch, which the table holds as a dict or as its text."""
    said: Any = record.get("dates-S2")
    try:
        said = json.loads(said.replace("'", '"')) if isinstance(said, str) else said
        ordered = sorted((int(number), str(day)) for number, day in said.items())
        return [dt.datetime.strptime(day, "%Y%m%d").replace(tzinfo=dt.UTC) for _, day in ordered]
    except (AttributeError, ValueError, TypeError) as cause:
        raise LabelError(
            f"metadata.geojson holds dates-S2 {said!r} of patch {patch}; expected days by number."
        ) from cause


def _array(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    """Read an array without ever unpickling.

    Raises:
        SceneError: it is no array of whole numbers of that shape.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as cause:
        raise SceneError(f"{path} cannot be read as an array ({cause}); fetch it again.") from cause
    fits = array.ndim == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
    if not fits or array.dtype.kind not in "iu":
        raise SceneError(
            f"{path} holds {array.dtype} {array.shape}; expected whole numbers of {shape}: fetch it again."
        )
    return array
