"""SEN12MS (Schmitt et al. 2019) and DFC2020: patches of 256 x 256 pixels by scene, L1C mosaics."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError
from bandloom.finetune.public_sets.pixels import open_tif
from bandloom.finetune.public_sets.place import Place
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.finetune.public_sets.raster_files import read_stored, whole_codes
from bandloom.finetune.public_sets.roles import listed_names, roles_of, with_validation
from bandloom.sensors import SLOTS
from bandloom.shards.labels.label_array import LabelArray
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, Labels
from bandloom.shards.scenes import Scene

PATCH = re.compile(r"(?P<group>ROIs\d{4}_[a-z]+)_(?P<kind>s1|s2|lc|dfc)_(?P<scene>\d+)_(?P<patch>p\d+)(?:\.tif)?")
SIDE_PX = 258


class _Patches(PublicSet):
    """GROUP/s2_SCENE/GROUP_s2_SCENE_pN.tif, and labels under the same name with another kind."""

    groups: ClassVar[str]  # pattern of the folders
    kind: ClassVar[str]  # of the labels
    label_bands: ClassVar[int] = 1  # of which the first holds the classes

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder of groups."""
        if root.zipped:
            return None
        group = root.first(cls.groups)
        scene = (root / group).first(rf"{cls.kind}_\d+") if group else None
        return root if scene else None

    def patches(self) -> dict[str, Path]:
        """Return the Sentinel-2 file of every patch by its name without its kind, in order."""
        patches = {}
        for group in (name for name in self.place.names() if re.fullmatch(self.groups, name)):
            for folder in ((self.place / group) / name for name in (self.place / group).names() if name[:3] == "s2_"):
                for name in folder.names():
                    match = PATCH.fullmatch(name)
                    if match:
                        patches[_key(match)] = folder.path / name
        return patches

    def open(self, path: str) -> Scene:
        """Open a patch's 13 bands."""
        return open_tif(path, self.facts)

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels:
        """Open a patch's labels, pixel for pixel those of its bands."""
        file = Path(path)
        name = file.name.replace("_s2_", f"_{self.kind}_")
        label = file.parent.parent / file.parent.name.replace("s2_", f"{self.kind}_") / name
        stored = read_stored(label)
        if len(stored.values) != self.label_bands:
            raise LabelError(f"{label} has {len(stored.values)} bands; expected {self.label_bands}: fetch it again.")
        return LabelArray(whole_codes(stored.values[0], label), Ground.of(scene), taxonomy, label)

    def read_list(self, name: str) -> list[str]:
        """Return the patches that a list of file names names, whatever kind of file it names."""
        place = next(place for place in (self.root, self.root / "splits") if place.has(name))
        return [_listed(line, name) for line in listed_names(place.text(name), str) if PATCH.search(line)]

    def has_list(self, name: str) -> bool:
        """Tell whether a list lies in the folder, or in splits."""
        return self.root.has(name) or (self.root / "splits").has(name)


class Dfc2020(_Patches):
    """ROIs0000_test and ROIs0000_validation with labels of ten metres."""

    groups, kind = r"ROIs0000_(?:test|validation|autumn|spring|summer|winter)", "dfc"
    facts = Facts(
        form="dfc2020",
        title="DFC2020",
        task="segment",
        label_set="dfc10",
        sensor="sentinel2-l1c",
        bands=SLOTS,
        units="10000 x reflectance",
        offset=0,
        side_px=SIDE_PX,
        splits=("copernicus-bench", "contest", "swapped"),
        layout="ROIs0000_test/s2_SCENE/ROIs0000_test_s2_SCENE_p1.tif, dfc_SCENE beside it, and ROIs0000_validation",
        licence="CC BY 4.0",
        source="https://ieee-dataport.org/competitions/2020-ieee-grss-data-fusion-contest",
        size="6,114 patches of 2.6 km",
        pixels="cloud-free mosaics of several dates by the source; all bands at 10 m",
        unsettled=(
            "two uses of its folders are common, and both are given: 'contest' tests on ROIs0000_test, 'swapped' trains"
            " on it and tests on ROIs0000_validation; validation is whole scenes of the training in both",
        ),
    )
    lists: ClassVar[dict[str, str]] = {role: f"dfc-{role}-new.csv" for role in ("train", "val", "test")}

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the patches by name, with their roles under every split that can be told."""
        patches, given = self.patches(), {}
        if all(self.has_list(name) for name in self.lists.values()):
            given = roles_of({role: self.read_list(name) for role, name in self.lists.items()}, "dfc-*-new.csv")
        samples = []
        for key, path in patches.items():
            tests = key.startswith("ROIs0000_test")
            roles = {"contest": "test" if tests else "train", "swapped": "train" if tests else "test"}
            roles |= {"copernicus-bench": given[key]} if key in given else {}
            samples.append(SetSample(str(path), key, roles))
        for split in ("contest", "swapped"):
            samples = with_validation(samples, split, lambda sample: sample.key.rsplit("_", 1)[0])
        return samples


class Sen12Ms(_Patches):
    """Four seasons, and MODIS land cover of 500 m in the first of four bands."""

    groups, kind, label_bands = r"ROIs(?:1158_spring|1868_summer|1970_fall|2017_winter)", "lc", 4
    facts = Facts(
        form="sen12ms",
        title="SEN12MS",
        task="segment",
        label_set="igbp17",
        sensor="sentinel2-l1c",
        bands=SLOTS,
        units="10000 x reflectance",
        offset=0,
        side_px=SIDE_PX,
        splits=("official",),
        layout="ROIs1158_spring/s2_SCENE/ROIs1158_spring_s2_SCENE_p1.tif, lc_SCENE, train_list.txt, test_list.txt",
        licence="CC BY 4.0",
        source="https://mediatum.ub.tum.de/1474000",
        size="180,662 patches of 2.6 km, about 510 GB with radar",
        pixels="cloud-free mosaics of several dates by the source; all bands at 10 m",
        unsettled=(
            "labels are MODIS pixels of 500 m, put on 10 m: no truth of a pixel",
            "validation is our own: whole scenes of the published training, since it publishes none",
        ),
    )

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the patches by name."""
        for name in ("train_list.txt", "test_list.txt"):
            if not self.has_list(name):
                raise LabelError(
                    f"{self.root} has no {name}; put both lists of the published split beside the seasons."
                )
        lists = {role: self.read_list(f"{role}_list.txt") for role in ("train", "test")}
        roles, patches = roles_of(lists, "the lists of SEN12MS"), self.patches()
        absent = len(set(roles) - set(patches))
        if absent:
            problems.add(str(self.root), f"{absent} listed patches are not there; they are left out.", "warning")
        samples = [
            SetSample(str(path), key, {"official": roles[key]} if key in roles else {}) for key, path in patches.items()
        ]
        return with_validation(samples, "official", lambda sample: sample.key.rsplit("_", 1)[0])


def _key(match: re.Match[str]) -> str:
    return f"{match['group']}_{match['scene']}_{match['patch']}"


def _listed(line: str, name: str) -> str:
    match = PATCH.search(line)
    if match is None:
        raise LabelError(f"{name} holds {line!r}; expected file names such as ROIs1158_spring_s2_1_p30.tif.")
    return _key(match)
