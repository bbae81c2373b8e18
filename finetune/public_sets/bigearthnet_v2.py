"""BigEarthNet v2 (Clasen et al. 2024): 480,038 patches of L2A in tiles, 19 classes, and CORINE's maps."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bandloom.classes.label_mapping import get_mapping
from bandloom.classes.taxonomy import Taxonomy, get_taxonomy
from bandloom.errors import LabelError
from bandloom.finetune.public_sets.mapped_labels import MappedLabels
from bandloom.finetune.public_sets.place import Place, places_in
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.sensors import SLOTS
from bandloom.shards.labels.open_labels import open_labels
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, LabelReading, Labels
from bandloom.shards.labels.table import read_parquet
from bandloom.shards.scenes import Scene, SceneOptions, open_scene

TABLE = "metadata.parquet"
TILE = r"S2[A-D]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d\d[A-Z]{3}"
ROLES = {"train": "train", "validation": "val", "test": "test"}
SIDE_PX = 120
NO_DATA = "999"  # CORINE's code for it


class BigEarthNetV2(PublicSet):
    """BigEarthNet-S2/TILE/PATCH with one raster a band, and the table that names classes and roles."""

    facts = Facts(
        form="bigearthnet-v2",
        title="BigEarthNet v2 (reBEN)",
        task="multilabel",
        label_set="bigearthnet19",
        sensor="sentinel2-l2a",
        bands=tuple(slot for slot in SLOTS if slot != "B10"),
        units="10000 x reflectance",
        offset=0,
        side_px=SIDE_PX,
        splits=("official",),
        layout="BigEarthNet-S2/TILE/PATCH/PATCH_B02.tif and metadata.parquet beside it",
        licence="CDLA-Permissive-1.0",
        source="https://bigearth.net, https://zenodo.org/records/10891137",
        size="480,038 patches of 1.2 km in its split, about 60 GB of Sentinel-2",
        pixels="measured samples of 10, 20 and 60 m as the product has them",
        unsettled=(
            "whether the table also lists patches outside of the split: a patch without a role is left out and counted",
        ),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder of tiles, where the table lies in it or beside it."""
        for place in places_in(root, "BigEarthNet-S2"):
            if not place.zipped and place.first(TILE) and _table_of(place).is_file():
                return place
        return None

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the patches that the table gives a role, in the order of their names."""
        table = _table_of(self.place)
        rows = sorted(read_parquet(table, ("patch_id", "labels", "split")), key=lambda row: str(row["patch_id"]))
        there = {name: set((self.place / name).names()) for name in self.place.names() if re.fullmatch(TILE, name)}
        samples, absent, without = [], 0, 0
        for row in rows:
            patch = str(row["patch_id"])
            tile = patch.rsplit("_", 2)[0]
            role = _role(row["split"], patch)
            if role is None:
                without += 1
            elif patch not in there.get(tile, ()):
                absent += 1
            else:
                path = self.place.path / tile / patch
                samples.append(SetSample(str(path), patch, {"official": role}, self.words_of(row, patch)))
        if absent:
            what = f"lists {absent} patches that are not there; they are left out."
            problems.add(str(table), what, "warning" if samples else "error")
        listed = {str(row["patch_id"]) for row in rows}
        without += sum(len(patches - listed) for patches in there.values())
        if without:
            problems.add(str(self.root), f"{without} patches have no role in {TABLE} and are left out.", "warning")
        return samples

    def words_of(self, row: dict[str, Any], patch: str) -> tuple[str, ...]:
        """Return the names of a patch's classes.

        Raises:
            LabelError: the table holds no list of names for it.
        """
        labels = row["labels"]
        if not isinstance(labels, list) or not labels:
            raise LabelError(f"{TABLE} holds {labels!r} as labels of {patch}; expected a list of class names.")
        return tuple(str(label) for label in labels)

    def open(self, path: str) -> Scene:
        """Open the rasters of a patch, each at its own sampling."""
        return open_scene(path, SceneOptions(self.facts.sensor, offset=self.facts.offset))


class BigEarthNetV2Maps(BigEarthNetV2):
    """The same patches with the raster of CORINE's codes that is published for each."""

    facts = replace(
        BigEarthNetV2.facts,
        form="bigearthnet-v2-maps",
        title="BigEarthNet v2 (reBEN), reference maps",
        task="segment",
        label_sets=("bigearthnet43", "corine44", "corine15", "corine5"),
        layout="BigEarthNet-S2/TILE/PATCH, Reference_Maps/TILE/PATCH/PATCH_reference_map.tif and metadata.parquet",
        unsettled=(
            "whether maps hold CORINE's 999 (no data): it has no label; any other code than CORINE's is refused",
        ),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder of tiles, where reference maps lie beside it."""
        place = super().find(root)
        return place if place is not None and _maps_of(place).is_dir() else None

    def words_of(self, row: dict[str, Any], patch: str) -> tuple[str, ...]:
        """Return nothing: the map says it pixel by pixel."""
        return ()

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels:
        """Open a patch's map in CORINE's codes, translated to the classes that are asked for.

        Raises:
            LabelError: no mapping leads from CORINE to them.
        """
        patch = Path(path)
        raster = _maps_of(self.place) / patch.parent.name / patch.name / f"{patch.name}_reference_map.tif"
        corine = get_taxonomy("corine44")
        labels = open_labels(raster, Ground.of(scene), corine, LabelReading(nodata=NO_DATA), Problems())
        return labels if taxonomy.id == corine.id else MappedLabels(labels, get_mapping(corine.id, taxonomy.id))


def _table_of(place: Place) -> Path:
    """Return the table in the folder of tiles or beside it; a path that is not there where there is none."""
    beside = place.path.parent / TABLE
    return place.path / TABLE if (place.path / TABLE).is_file() else beside


def _maps_of(place: Place) -> Path:
    beside = place.path.parent / "Reference_Maps"
    return beside if beside.is_dir() else place.path / "Reference_Maps"


def _role(split: Any, patch: str) -> str | None:
    if split is None or split == "":
        return None
    if split not in ROLES:
        raise LabelError(f"{TABLE} puts {patch} into {split!r}; expected {', '.join(ROLES)}.")
    return ROLES[split]
