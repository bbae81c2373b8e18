"""Sen1Floods11 (Bonafilia et al. 2020): 446 hand-labelled chips of floods, L1C of 512 x 512 pixels."""

import re
from collections.abc import Sequence
from pathlib import Path

from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError
from bandloom.finetune.public_sets.pixels import open_tif
from bandloom.finetune.public_sets.place import Place, places_in
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.finetune.public_sets.roles import listed_names, note_differences, roles_of
from bandloom.sensors import SLOTS
from bandloom.shards.labels.open_labels import open_labels
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, LabelReading, Labels
from bandloom.shards.scenes import Scene

ROLES = {"train": "train", "valid": "val", "test": "test", "bolivia": "bolivia"}
CHIP = re.compile(r"(?P<chip>[A-Za-z-]+_\d+)(?:_[A-Za-z0-9]+\.tif)?")
SQUARES = 9  # 512 pixels in squares of 240


class Sen1Floods11(PublicSet):
    """S2Hand and LabelHand side by side, and lists of chips as CSV or text."""

    facts = Facts(
        form="sen1floods11",
        title="Sen1Floods11, hand-labelled",
        task="segment",
        label_set="sen1floods11",
        sensor="sentinel2-l1c",
        bands=SLOTS,
        units="10000 x reflectance",
        offset=0,
        side_px=240,
        splits=("official", "bolivia"),
        layout="v1.1/data/flood_events/HandLabeled/S2Hand/CHIP_S2Hand.tif, LabelHand/CHIP_LabelHand.tif and"
        " v1.1/splits/flood_handlabeled/flood_train_data.csv (or .txt)",
        licence="CC BY 4.0",
        source="https://github.com/cloudtostreet/Sen1Floods11",
        size="446 chips of 5 km, 14 GB with radar",
        pixels="copies of the measured samples in degrees (nearest); taken back unchanged where the copies prove"
        " it, else resampled to UTM",
        unsettled=("the dates of the chips: no file of a chip says them",),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder HandLabeled."""
        inside = ("HandLabeled", "flood_events/HandLabeled", "data/flood_events/HandLabeled")
        places = places_in(root, *inside, "v1.1/data/flood_events/HandLabeled")
        return next((place for place in places if place.has("S2Hand") and place.has("LabelHand")), None)

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the chips by name; Bolivia's are in no role of ``official``, and the test of ``bolivia``."""
        labelled = set((self.place / "LabelHand").names())
        roles, samples = self._roles(), []
        chips = {match["chip"]: name for name in (self.place / "S2Hand").names() if (match := CHIP.fullmatch(name))}
        note_differences(chips, roles, "official", problems, str(self.root))
        for chip, name in chips.items():
            if f"{chip}_LabelHand.tif" not in labelled:
                problems.add(chip, "has no LabelHand raster; fetch it again.")
            role, given = roles.get(chip), {}
            if role == "bolivia":
                given = {"bolivia": "test"}
            elif role is not None:
                given = {"official": role} | ({"bolivia": role} if role != "test" else {})
            samples.append(SetSample((self.place / "S2Hand").address(name), chip, given, squares=SQUARES))
        return samples

    def open(self, path: str) -> Scene:
        """Open a chip's 13 bands."""
        return open_tif(path, self.facts)

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels:
        """Open a chip's hand labels: 1 water, 0 none, -1 not told."""
        chip = Path(path).name.removesuffix("_S2Hand.tif")
        label = Path((self.place / "LabelHand").address(f"{chip}_LabelHand.tif"))
        return open_labels(label, Ground.of(scene), taxonomy, LabelReading(nodata="none"), Problems())

    def _roles(self) -> dict[str, str]:
        """Read the lists; CSV and text must agree where both are there.

        Raises:
            LabelError: a list is missing, or two of one role differ.
        """
        tops = places_in(self.root, *_SPLIT_PLACES)
        lists: dict[str, list[str]] = {}
        for name, role in ROLES.items():
            read = [
                listed_names(top.text(file), _chip_of)
                for top in tops
                for file in (f"flood_{name}_data.csv", f"flood_{name}_data.txt")
                if top.has(file)
            ]
            if not read and name != "bolivia":
                raise LabelError(
                    f"{self.root} has no flood_{name}_data.csv or .txt; put splits/flood_handlabeled there."
                )
            if any(set(other) != set(read[0]) for other in read[1:]):
                raise LabelError(f"{self.root} has two lists flood_{name}_data that differ; keep one.")
            lists[role] = read[0] if read else []
        return roles_of(lists, "splits/flood_handlabeled")


_SPLIT_PLACES = ("splits/flood_handlabeled", "v1.1/splits/flood_handlabeled", "flood_handlabeled", "splits")


def _chip_of(line: str) -> str:
    match = CHIP.fullmatch(line)
    if match is None:
        raise LabelError(f"a list of Sen1Floods11 holds {line!r}; expected a chip such as Ghana_103272_S2Hand.tif.")
    return match["chip"]
