"""HLS Burn Scars (Phillips et al. 2023): 804 scenes of HLS S30, six bands at 30 m, and where the ground has burned."""

import datetime as dt
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError
from bandloom.finetune.public_sets.pixels import scene_of_reflectance
from bandloom.finetune.public_sets.place import Place
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.finetune.public_sets.raster_files import read_stored, whole_codes
from bandloom.finetune.public_sets.roles import with_validation
from bandloom.shards.labels.label_array import LabelArray
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, Labels
from bandloom.shards.scenes import Scene

SCENE = re.compile(
    r"subsetted_512x512_(?P<name>HLS\.S30\.(?P<tile>T\d\d[A-Z]{3})\.(?P<day>\d{7})\.v[\d.]+)_merged\.tif"
)
ROLES = {"training": "train", "validation": "test"}
GSD_M = 30
LEAST = -0.9  # fill values of HLS, -9999, are -0.9999 as reflectance
SQUARES = 16


class HlsBurnScars(PublicSet):
    """training and validation, each with NAME_merged.tif and NAME.mask.tif."""

    facts = Facts(
        form="hls-burn-scars",
        title="HLS Burn Scars",
        task="segment",
        label_set="burnscars2",
        sensor="hls-s30",
        bands=("B02", "B03", "B04", "B8A", "B11", "B12"),
        units="reflectance as floats",
        offset=0,
        side_px=384,
        splits=("official",),
        layout="training/subsetted_512x512_HLS.S30.T10TGS.2018285.v1.4_merged.tif and .mask.tif, and validation",
        licence="CC BY 4.0",
        source="https://huggingface.co/datasets/ibm-nasa-geospatial/hls_burn_scars",
        size="804 scenes of 15 km",
        pixels="30 m as HLS has them",
        unsettled=(
            "what stands for absent: NaN, values below -0.9 and pixels of 0 in every band are taken for it",
            "the published validation is the test, as in the field's tables; tiles of the training validate",
        ),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder that holds training and validation."""
        for place in () if root.zipped else (root, root / "hls_burn_scars"):
            if (place / "training").first(SCENE.pattern) or (place / "validation").first(SCENE.pattern):
                return place
        return None

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the scenes of both folders by name."""
        samples = []
        for folder, role in ROLES.items():
            names = (self.place / folder).names()
            for name in names:
                match = SCENE.fullmatch(name)
                if match and _mask_of(name) not in names:
                    problems.add(f"{folder}/{name}", "has no mask beside it; fetch it again.")
                elif match:
                    key = re.sub(r"[^A-Za-z0-9-]+", "-", match["name"])
                    path = str(self.place.path / folder / name)
                    samples.append(SetSample(path, f"{folder}-{key}", {"official": role}, squares=SQUARES))
        return with_validation(samples, "official", lambda sample: _match(sample.path)["tile"])

    def open(self, path: str) -> Scene:
        """Open a scene's six bands."""
        stored = read_stored(Path(path), GSD_M)
        known = np.isfinite(stored.values) & (stored.values > LEAST) & (stored.values != 0).any(0)
        day = dt.datetime.strptime(_match(path)["day"], "%Y%j").replace(tzinfo=dt.UTC)
        told = {"crs": stored.crs, "transform": stored.transform, "datetime": day}
        return scene_of_reflectance(stored.values, self.facts.own_sensor, self.facts.bands, path, known=known, **told)

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels:
        """Open a scene's mask: 1 burned, 0 not, -1 not told."""
        mask = Path(path).with_name(_mask_of(Path(path).name))
        codes = whole_codes(read_stored(mask, GSD_M).values[0], mask)
        return LabelArray(codes, Ground.of(scene), taxonomy, mask, pixel_m=GSD_M)


def _match(path: str) -> re.Match[str]:
    match = SCENE.fullmatch(Path(path).name)
    if match is None:
        raise LabelError(f"{path} is no scene of HLS Burn Scars.")
    return match


def _mask_of(name: str) -> str:
    return name.removesuffix("_merged.tif") + ".mask.tif"
