"""So2Sat LCZ42 (Zhu et al. 2020): 400,673 chips of 32 x 32 pixels in HDF5, climate zones, no place and no date."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.errors import LabelError, SceneError
from bandloom.finetune.public_sets.hdf5 import opened
from bandloom.finetune.public_sets.pixels import scene_of_reflectance
from bandloom.finetune.public_sets.place import Place
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.shards.labels.problems import Problems
from bandloom.shards.scenes import Scene

FILES = {"training.h5": "train", "validation.h5": "val", "testing.h5": "test"}
VERSION_3 = ("random", "block", "culture_10")
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SHAPE = (32, 32, len(BANDS))


class So2Sat(PublicSet):
    """training.h5, validation.h5 and testing.h5 with sen2 (N, 32, 32, 10) and label (N, 17)."""

    facts = Facts(
        form="so2sat",
        title="So2Sat LCZ42",
        task="classify",
        label_set="so2sat17",
        sensor="sentinel2-l1c",
        bands=BANDS,
        units="reflectance, float64, channels last",
        offset=0,
        side_px=36,
        splits=("official", *VERSION_3),
        layout="training.h5 and testing.h5 (version 2, with validation.h5), or random/, block/ or culture_10/ with both"
        " (version 3)",
        licence="CC BY 4.0",
        source="https://mediatum.ub.tum.de/1483140 (version 2), https://mediatum.ub.tum.de/1613658 (version 3)",
        size="400,673 chips of 320 m, about 52 GB",
        pixels="20 m bands interpolated to 10 m by the source; no B01, B09, B10",
        choices={name: f"the folder {name} of version 3" for name in VERSION_3},
        unsettled=("that sen2 holds reflectance of 0 to 1 (DN / 10000): values that no ground has are refused",),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder itself, where it holds version 2 or a folder of version 3."""
        if root.zipped:
            return None
        tops = [root, *(root / name for name in VERSION_3)]
        return root if any(top.has("training.h5") and top.has("testing.h5") for top in tops) else None

    @property
    def _folder(self) -> Place:
        """The one folder of HDF5 files that is meant.

        Raises:
            LabelError: there are several, and nobody said which.
        """
        if self.take is not None:
            return self.place / self.take
        there = [name for name in VERSION_3 if (self.place / name).has("training.h5")]
        if self.place.has("training.h5"):
            return self.place
        if len(there) > 1:
            raise LabelError(f"{self.root} holds {', '.join(there)}; say which with --take, since they share chips.")
        return self.place / there[0]

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return every chip by file and number; version 3 publishes no validation: a part of its training serves."""
        folder = self._folder
        split = folder.path.name if folder.path.name in VERSION_3 else "official"
        names = [land_class.name for land_class in get_taxonomy(self.facts.label_set).classes]
        samples = []
        for file, role in FILES.items():
            if folder.has(file):
                path = folder.path / file
                for number, index in enumerate(_labels(path, len(names)).tolist()):
                    key = f"{file.removesuffix('.h5')}-{number:06d}"
                    samples.append(SetSample(f"{path}#{number}", key, {split: role}, (names[index],)))
        if not folder.has("validation.h5"):
            what = "publishes no validation.h5; every seventh chip of its training validates, and they have no place."
            problems.add(str(folder), what, "warning")
            samples = [
                SetSample(s.path, s.key, {split: "val"}, s.classes) if s.roles[split] == "train" and i % 7 == 3 else s
                for i, s in enumerate(samples)
            ]
        return samples

    def open(self, path: str) -> Scene:
        """Open a chip of a file, channels first."""
        file, _, number = path.rpartition("#")
        with opened(Path(file)) as packed:
            stored = packed["sen2"]
            if stored.shape[1:] != SHAPE or stored.dtype.kind != "f":
                raise SceneError(
                    f"{file} holds sen2 as {stored.dtype} {stored.shape}; expected floats (N, 32, 32, 10)."
                )
            values = np.moveaxis(np.asarray(stored[int(number)], np.float64), -1, 0)
        return scene_of_reflectance(values, self.facts.own_sensor, BANDS, path)


def _labels(path: Path, count: int) -> np.ndarray:
    """Return the class of every chip from one-hot rows.

    Raises:
        LabelError: a row is not one-hot, or there are other classes.
    """
    with opened(path) as packed:
        labels = np.asarray(packed["label"])
        chips = len(packed["sen2"])
    if labels.shape != (chips, count):
        raise LabelError(f"{path} holds labels of the shape {labels.shape}; expected {(chips, count)}.")
    odd = np.flatnonzero((labels.sum(1) != 1) | (labels.max(1) != 1))
    if odd.size:
        raise LabelError(f"{path}: the label of chip {odd[0]} is not one-hot ({labels[odd[0]].tolist()}).")
    return labels.argmax(1)
