"""CloudSEN12+ (Aybar et al. 2024): patches with cloud and shadow by hand, in TACO files; Level-1C and Level-2A."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError, SceneError
from bandloom.finetune.public_sets.place import Place
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.sensors import SLOTS
from bandloom.shards.corpora.cloudsen12 import (
    DENSE,
    ROLES,
    SIDE_PX,
    SPARSE,
    SQUARES,
    Patch,
    patches_of,
    read_patch,
    scene_of,
)
from bandloom.shards.corpora.corpus import slug
from bandloom.shards.corpora.tortilla import Item, is_tortilla
from bandloom.shards.labels.label_array import LabelArray
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, Labels
from bandloom.shards.scenes import Scene

_INNER = "#"  # between a part and a patch of it
_SMALL_PX = 509  # what published scores are of; there are patches of 2000 pixels too


class CloudSen12L1C(PublicSet):
    """Parts of one level: images, labels and the published split lie in the same files."""

    level: ClassVar[str] = "l1c"
    facts = Facts(
        form="cloudsen12-l1c",
        title="CloudSEN12+, Level-1C",
        task="segment",
        label_set="cloudsen12",
        sensor="sentinel2-l1c",
        bands=SLOTS,
        units="10000 x reflectance",
        offset=0,
        side_px=SIDE_PX,
        splits=("official",),
        layout="cloudsen12-l1c.0000.part.taco and the parts after it, TACO version 1",
        licence="CC0 1.0",
        source="https://huggingface.co/datasets/tacofoundation/cloudsen12",
        size="10,000 patches of 5 km labelled everywhere, others of 20 km, in part or not; about 250 GB",
        pixels="all bands on one grid of 10 m by Earth Engine: copies are taken back where the block test proves them",
        choices={
            "high": "patches of 509 pixels labelled everywhere (the usual ones)",
            "high-all": "those of 2000 pixels too",
            "scribble": "patches of which some pixels are labelled",
        },
        unsettled=(
            "on which sides patches are padded (left and bottom, says the card) and whether their stated corner is the"
            " padded one: sides whose lines are zeros are cut off, counted as `padding` in the manifest, and a patch"
            " that has none is quarantined",
            "whether 20 and 60 m bands are copies, at which phase: block test, `upsampled_by` and `phase_px`",
        ),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder of parts of this level."""
        return root if not root.zipped and cls._parts(root) else None

    @classmethod
    def _parts(cls, root: Place) -> list[Path]:
        name = re.compile(rf".*cloudsen12-{cls.level}\b.*", re.IGNORECASE)
        return [root.path / file for file in root.names() if name.fullmatch(file) and is_tortilla(root.path / file)]

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the labelled patches by id; those without a published role are in no split."""
        take, samples, without = self.take or "high", [], 0
        for part in self._parts(self.place):
            for name, item in sorted(patches_of(part).items()):
                if not _taken(item, take):
                    continue
                role = ROLES.get(str(item.facts.get("tortilla:data_split")))
                without += role is None
                roles = {} if role is None else {"official": role}
                samples.append(SetSample(f"{part}{_INNER}{name}", slug(name), roles, squares=SQUARES))
        if not samples:
            problems.add(str(self.place), f"has no patch for --take {take}: {self.facts.choices[take]}.")
        if without:
            what = f"{without} patches have no role in the published split; no split of it will use them."
            problems.add(str(self.place), what, "warning")
        return samples

    def open(self, path: str) -> Scene:
        """Open the bands of a patch, its padding cut off."""
        part, item, patch = _patch(path)
        scene = scene_of(part, item, patch)
        if scene.sensor.name != self.facts.own_sensor.name:
            raise SceneError(f"{path} is {scene.sensor.name}; expected {self.facts.sensor}: name it after its level.")
        return scene

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels:
        """Open the labels of a patch, pixel for pixel those of its bands."""
        part, _, patch = _patch(path)
        row, column = scene.provenance.get("phase_px", (0, 0))
        return LabelArray(patch.label[row:, column:], Ground.of(scene), taxonomy, part)


class CloudSen12L2A(CloudSen12L1C):
    """The same patches after Earth Engine's Level-2A."""

    level: ClassVar[str] = "l2a"
    facts = replace(
        CloudSen12L1C.facts,
        form="cloudsen12-l2a",
        title="CloudSEN12+, Level-2A",
        sensor="sentinel2-l2a",
        bands=tuple(slot for slot in SLOTS if slot != "B10"),
        layout="cloudsen12-l2a.0000.part.taco and the parts after it, TACO version 1",
    )


def _taken(item: Item, take: str) -> bool:
    kind, side = item.facts.get("label_type"), item.facts.get("real_proj_shape")
    return kind == (SPARSE if take == SPARSE else DENSE) and (take != "high" or side == _SMALL_PX)


@lru_cache(maxsize=2)
def _patch(path: str) -> tuple[Path, Item, Patch]:
    """Return a patch, its item and the part that it lies in; its pixels and its labels are asked for in turn."""
    part, _, name = path.rpartition(_INNER)
    items = patches_of(Path(part))
    if name not in items:
        raise LabelError(f"{part} holds no patch {name!r}; fetch it again.")
    return Path(part), items[name], read_patch(Path(part), items[name])
