"""EuroSAT-MS (Helber et al. 2019): 27,000 chips of 64 x 64 pixels and 13 bands, ten classes; the last band is B8A."""

import re
from collections.abc import Sequence

from bandloom.errors import LabelError
from bandloom.finetune.public_sets.pixels import open_tif
from bandloom.finetune.public_sets.place import Place, places_in
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.finetune.public_sets.roles import listed_names, note_differences, roles_of
from bandloom.shards.labels.problems import Problems
from bandloom.shards.scenes import Scene
from bandloom.shards.scenes.bands import BAND_ORDERS

CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)
LISTED = re.compile(rf"(?P<chip>(?:{'|'.join(CLASSES)})_\d+)\.(?:jpg|tif)")
LISTS = {"random": "eurosat-{}.txt", "spatial": "eurosat-spatial-{}.txt", "100": "eurosat-100-{}.txt"}
INSIDE = ("ds/images/remote_sensing/otherDatasets/sentinel_2/tif", "EuroSAT_MS", "EuroSATallBands", "tif")


class EuroSat(PublicSet):
    """Class folders, in their zip or unpacked, and lists of names that end in ``.jpg``."""

    facts = Facts(
        form="eurosat-ms",
        title="EuroSAT-MS",
        task="classify",
        label_set="eurosat10",
        sensor="sentinel2-l1c",
        bands=BAND_ORDERS["eurosat"],
        units="10000 x reflectance",
        offset=0,
        side_px=66,
        splits=("random", "spatial", "100"),
        layout="CLASS/CLASS_1.tif in one of the ten class folders (or EuroSATallBands.zip), with eurosat-train.txt or"
        " eurosat-spatial-train.txt beside it",
        licence="MIT",
        source="https://github.com/phelber/EuroSAT; lists of the splits: torchgeo, eurosat.py",
        size="27,000 chips of 640 m, 2.8 GB",
        pixels="all bands interpolated to 10 m by the source; 20 and 60 m bands are block means of that",
        unsettled=(
            "whether single chips have another coordinate system or rows of zeros: each chip is read by its own"
            " coordinate system, zeros are absent",
        ),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder of the class folders."""
        return next((place for place in places_in(root, *INSIDE) if _has_chips(place)), None)

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the chips by class and number, with their roles under every split whose three lists are there."""
        chips = {name.removesuffix(".tif"): folder for folder in CLASSES for name in self._chips(folder)}
        roles = {split: self._roles(split, problems, set(chips)) for split in LISTS}
        roles = {split: given for split, given in roles.items() if given}
        if not roles:
            raise LabelError(
                f"{self.root} has no list of a published split (eurosat-train.txt, eurosat-spatial-train.txt, ... of"
                " torchgeo); put the lists of one beside the chips, or use --form folders."
            )
        return [
            SetSample(
                (self.place / folder).address(f"{chip}.tif"),
                chip,
                {split: given[chip] for split, given in roles.items() if chip in given},
                (folder,),
            )
            for chip, folder in chips.items()
        ]

    def open(self, path: str) -> Scene:
        """Open a chip; its pixels are 10.0057 x 9.9941 m or so, and taken as 10 m."""
        return open_tif(path, self.facts)

    def _chips(self, folder: str) -> list[str]:
        named = re.compile(rf"{folder}_(\d+)\.tif")
        found = [name for name in (self.place / folder).names() if named.fullmatch(name)]
        return sorted(found, key=lambda name: int(name.removesuffix(".tif").rpartition("_")[2]))

    def _roles(self, split: str, problems: Problems, chips: set[str]) -> dict[str, str]:
        lists = {}
        for role in ("train", "val", "test"):
            name = LISTS[split].format(role)
            where = next((place for place in (self.root, self.root / "splits", self.place) if place.has(name)), None)
            if where is None:
                return {}
            lists[role] = listed_names(where.text(name), _chip_of)
        roles = roles_of(lists, f"the split {split!r}")
        if split != "100":  # a hundred chips of a class leave nearly all others out
            note_differences(chips, roles, split, problems, str(self.root))
        return roles


def _chip_of(line: str) -> str:
    match = LISTED.fullmatch(line)
    if match is None:
        raise LabelError(f"a list of EuroSAT holds {line!r}; expected a chip such as Forest_12.jpg.")
    return match["chip"]


def _has_chips(place: Place) -> bool:
    return any(
        re.fullmatch(rf"{folder}_\d+\.tif", name)
        for folder in CLASSES
        if place.has(folder)
        for name in (place / folder).names()[:3]
    )
