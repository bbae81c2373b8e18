"""BigEarthNet v1 (Sumbul et al. 2019): 590,326 patches of Sentinel-2 L2A, each with a JSON of CORINE's names."""

import json
import re
from collections import Counter
from collections.abc import Sequence

from bandloom.classes.label_mapping import Mapping, get_mapping
from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.errors import LabelError
from bandloom.finetune.public_sets.place import Place, places_in
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.finetune.public_sets.roles import listed_names, note_differences, roles_of
from bandloom.sensors import SLOTS
from bandloom.shards.labels.problems import Problems
from bandloom.shards.scenes import Scene, SceneOptions, open_scene

PATCH = r"S2[AB]_MSIL2A_\d{8}T\d{6}_\d+_\d+"
LISTS = {"train": "bigearthnet-train.csv", "val": "bigearthnet-val.csv", "test": "bigearthnet-test.csv"}


class BigEarthNetV1(PublicSet):
    """BigEarthNet-v1.0/PATCH with one raster a band and a JSON, and lists of patches as CSV."""

    facts = Facts(
        form="bigearthnet-v1",
        title="BigEarthNet v1",
        task="multilabel",
        label_set="bigearthnet19",
        sensor="sentinel2-l2a",
        bands=tuple(slot for slot in SLOTS if slot != "B10"),
        units="10000 x reflectance",
        offset=0,
        side_px=120,
        splits=("official",),
        layout="BigEarthNet-v1.0/PATCH/PATCH_labels_metadata.json with rasters, and bigearthnet-train.csv, -val, -test",
        licence="CDLA-Permissive-1.0",
        source="https://bigearth.net; lists of the split: torchgeo, bigearthnet.py",
        size="590,326 patches of 1.2 km, 66 GB; those with snow or cloud are in no list",
        pixels="measured samples of 10, 20 and 60 m as the product has them",
        label_sets=("bigearthnet43",),
        unsettled=("it is another atmospheric correction than version 2 (N02xx): never train on both together",),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder of patches."""
        for place in places_in(root, "BigEarthNet-v1.0"):
            patch = None if place.zipped else place.first(PATCH)
            if patch and (place / patch).has(f"{patch}_labels_metadata.json"):
                return place
        return None

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the listed patches in the order of their names; the words are those of the 43 classes."""
        roles = roles_of({role: self._listed(name) for role, name in LISTS.items()}, "the split of version 1")
        there = {name for name in self.place.names() if re.fullmatch(PATCH, name)}
        note_differences(there, roles, "official", problems, str(self.root))
        return [
            SetSample(str(self.place.path / patch), patch, {"official": roles[patch]}, self._words(patch))
            for patch in sorted(there & set(roles))
        ]

    def words_in(self, label_set: str, samples: Sequence[SetSample], problems: Problems) -> Sequence[SetSample]:
        """Return the samples with names of the 19 classes; those that lose their only class are left out."""
        if label_set != "bigearthnet19":
            return samples
        mapping, dropped, kept = get_mapping("bigearthnet43", "bigearthnet19"), Counter[str](), []
        for sample in samples:
            words = _mapped(sample.classes, mapping, dropped)
            if words:
                kept.append(SetSample(sample.path, sample.key, sample.roles, words))
        for name, count in sorted(dropped.items()):
            what = f"{count} patches show {name!r}, which has no class in {label_set}: that label is left out."
            problems.add(str(self.root), what, "warning")
        if len(kept) < len(samples):
            what = f"{len(samples) - len(kept)} patches have no other class and are left out."
            problems.add(str(self.root), what, "warning")
        return kept

    def open(self, path: str) -> Scene:
        """Open the rasters of a patch, each at its own sampling."""
        return open_scene(path, SceneOptions(self.facts.sensor, offset=self.facts.offset))

    def _listed(self, name: str) -> list[str]:
        where = next((place for place in (self.root, self.root / "splits", self.place) if place.has(name)), None)
        if where is None:
            raise LabelError(
                f"{self.root} has no {name}; put the three lists of the published split beside the patches."
            )
        names = listed_names(where.text(name), str)
        return [name for i, name in enumerate(names) if i or re.fullmatch(PATCH, name)]  # a header may stand first

    def _words(self, patch: str) -> tuple[str, ...]:
        file = f"{patch}_labels_metadata.json"
        try:
            labels = json.loads((self.place / patch).text(file))["labels"]
        except (ValueError, KeyError, TypeError) as cause:
            raise LabelError(f"{patch}/{file} holds no list under 'labels' ({cause!r}); fetch it again.") from cause
        if not isinstance(labels, list) or not labels:
            raise LabelError(f"{patch}/{file} holds {labels!r} under 'labels'; expected a list of class names.")
        return tuple(str(label) for label in labels)


def _mapped(words: Sequence[str], mapping: Mapping, dropped: Counter[str]) -> tuple[str, ...]:
    found = []
    for word in words:
        place = mapping.source.find(word)
        index = int(mapping.index[place])
        if index == IGNORE_INDEX:
            dropped[mapping.source.classes[place].name] += 1
        else:
            found.append(mapping.target.classes[index].name)
    return tuple(dict.fromkeys(found))
