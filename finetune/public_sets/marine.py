"""MADOS (Kikaki et al. 2024) and MARIDA (2022): marine debris and oil in Sentinel-2, Rayleigh-corrected by ACOLITE."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError, SceneError
from bandloom.finetune.public_sets.pixels import scene_of_native, scene_of_reflectance
from bandloom.finetune.public_sets.place import Place
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.finetune.public_sets.raster_files import read_stored, whole_codes
from bandloom.finetune.public_sets.roles import listed_names, note_differences, roles_of
from bandloom.sensors import SLOT_GSD_M, SLOTS, get_sensor
from bandloom.shards.labels.label_array import LabelArray
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, Labels
from bandloom.shards.scenes import Scene

SENSOR = "sentinel2-rhorc"
BANDS = tuple(slot for slot in SLOTS if slot not in ("B09", "B10"))
NEAR_NM = 20  # Sentinel-2A and 2B differ by up to 17 nm in B12
UNITS = "Rayleigh-corrected reflectance (ACOLITE rhorc): neither level 1C nor 2A"
LISTS = {"train": "train_X.txt", "val": "val_X.txt", "test": "test_X.txt"}


class _Marine(PublicSet):
    """What both share: lists of crops, and codes beside the bands."""

    prefix: ClassVar[str]  # before a crop's name, where its lists leave it out

    def roles(self) -> dict[str, str]:
        """Return the role of every crop.

        Raises:
            LabelError: a list is missing.
        """
        place = next((place for place in (self.root / "splits", self.root) if place.has(LISTS["train"])), None)
        if place is None:
            raise LabelError(f"{self.root} has no splits/{LISTS['train']}; put the lists of the published split there.")
        lists = {role: listed_names(place.text(name), lambda line: self.prefix + line) for role, name in LISTS.items()}
        return roles_of(lists, "splits")

    def codes(self, path: Path, scene: Scene, taxonomy: Taxonomy) -> Labels:
        """Return the codes of a raster; some files store them as floats."""
        return LabelArray(whole_codes(read_stored(path).values[0], path), Ground.of(scene), taxonomy, path)


class Mados(_Marine):
    """Scene_N/10, 20 and 60 with one raster a band, named by its wavelength."""

    prefix = ""
    crop: ClassVar[re.Pattern[str]] = re.compile(r"(?P<scene>Scene_\d+)_L2R_cl_(?P<number>\d+)\.tif")
    facts = Facts(
        form="mados",
        title="MADOS, marine debris and oil spill",
        task="segment",
        label_set="mados15",
        sensor=SENSOR,
        bands=BANDS,
        units=UNITS,
        offset=0,
        side_px=240,
        splits=("official",),
        layout="Scene_1/10/Scene_1_L2R_rhorc_560_1.tif and Scene_1_L2R_cl_1.tif, 20, 60, splits/train_X.txt",
        licence="CC BY 4.0",
        source="https://marine-pollution.github.io",
        size="2,803 crops of 2.4 km",
        pixels="samples of 10, 20 and 60 m at their own sampling; no B09, B10",
        unsettled=(
            "which wavelengths a scene's files carry (2A and 2B differ): each is taken for the band within 20 nm",
        ),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder of scenes."""
        if root.zipped:
            return None
        for place in (root, root / "MADOS"):
            scene = place.first(r"Scene_\d+")
            if scene and (place / scene / "10").first(cls.crop.pattern):
                return place
        return None

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the crops by scene and number."""
        scenes = [name for name in self.place.names() if re.fullmatch(r"Scene_\d+", name)]
        samples = [
            (self.place / name / "10", match) for name in scenes for match in self._crops(self.place / name / "10")
        ]
        keys = {f"{match['scene']}_{match['number']}": (folder, match) for folder, match in samples}
        roles = self.roles()
        note_differences(keys, roles, "official", problems, str(self.root))
        return [
            SetSample(str(folder.path / match[0]), key, {"official": roles[key]} if key in roles else {})
            for key, (folder, match) in keys.items()
        ]

    def open(self, path: str) -> Scene:
        """Open a crop's bands, each at its own sampling."""
        label = Path(path)
        match = self.crop.fullmatch(label.name)
        if match is None:
            raise SceneError(f"{path} is no crop of {self.facts.title}.")
        named = re.compile(rf"{match['scene']}_L2R_rhorc_(\d+)_{match['number']}\.tif")
        bands, first = {}, None
        for gsd in (10, 20, 60):
            for file in sorted((label.parent.parent / str(gsd)).iterdir()):
                told = named.fullmatch(file.name)
                if told:
                    band = _band_at(int(told[1]), gsd, file)
                    if band in bands:
                        raise SceneError(f"{file} is of {band}, of which there is another file; keep one of them.")
                    stored = read_stored(file, gsd)
                    first = first or (stored if gsd == 10 else None)
                    bands[band] = np.where(np.isfinite(stored.values[0]), stored.values[0], np.nan)
        missing = [band for band in BANDS if band not in bands]
        if missing or first is None:
            raise SceneError(f"{path} lacks {', '.join(missing)}; fetch {match['scene']} again.")
        return scene_of_native(bands, get_sensor(SENSOR), path, crs=first.crs, transform=first.transform)

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels:
        """Open a crop's codes; 0 is not annotated."""
        return self.codes(Path(path), scene, taxonomy)

    def _crops(self, folder: Place) -> list[re.Match[str]]:
        matches = [match for name in folder.names() if (match := self.crop.fullmatch(name))]
        return sorted(matches, key=lambda match: int(match["number"]))


class Marida(_Marine):
    """patches/S2_DATE_TILE/S2_DATE_TILE_N.tif with eleven bands, and _cl.tif beside it."""

    prefix = "S2_"
    crop: ClassVar[re.Pattern[str]] = re.compile(r"S2_\d{1,2}-\d{1,2}-\d{2}_[0-9A-Z]{5}_\d+")
    facts = Facts(
        form="marida",
        title="MARIDA, marine debris archive",
        task="segment",
        label_set="marida15",
        sensor=SENSOR,
        bands=BANDS,
        units=UNITS,
        offset=0,
        side_px=258,
        splits=("official",),
        layout="patches/S2_1-12-19_48MYU/S2_1-12-19_48MYU_0.tif and S2_1-12-19_48MYU_0_cl.tif, splits/train_X.txt",
        licence="CC BY 4.0",
        source="https://zenodo.org/records/5151941",
        size="1,381 patches of 2.6 km",
        pixels="20 and 60 m bands resampled to 10 m by the source; block means of that; no B09, B10",
        unsettled=("whether absent pixels are NaN or 0 in every band: both are taken for absent",),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder of patches."""
        place = root / "patches"
        return place if not root.zipped and place.first(r"S2_\d{1,2}-\d{1,2}-\d{2}_[0-9A-Z]{5}") else None

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return the patches by scene and number."""
        roles, files = self.roles(), {}
        for scene in self.place.names():
            for name in (self.place / scene).names():
                if name.endswith(".tif") and self.crop.fullmatch(name.removesuffix(".tif")):
                    files[name.removesuffix(".tif")] = self.place.path / scene / name
        note_differences(files, roles, "official", problems, str(self.root))
        return [
            SetSample(str(path), key, {"official": roles[key]} if key in roles else {}) for key, path in files.items()
        ]

    def open(self, path: str) -> Scene:
        """Open a patch's eleven bands."""
        stored = read_stored(Path(path))
        known = np.isfinite(stored.values) & (stored.values != 0).any(0)
        told = {"crs": stored.crs, "transform": stored.transform}
        return scene_of_reflectance(stored.values, get_sensor(SENSOR), BANDS, path, known=known, **told)

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels:
        """Open a patch's codes; 0 is not annotated."""
        return self.codes(Path(path.removesuffix(".tif") + "_cl.tif"), scene, taxonomy)


def _band_at(centre_nm: int, gsd_m: int, file: Path) -> str:
    """Return the band of a wavelength among those of a sampling.

    Raises:
        SceneError: none is within 20 nm.
    """
    near = {b.name: abs(b.centre_nm - centre_nm) for b in get_sensor(SENSOR).bands if SLOT_GSD_M[b.name] == gsd_m}
    band = min(near, key=near.__getitem__)
    if near[band] > NEAR_NM:
        raise SceneError(f"{file} is of {centre_nm} nm, which no band of {gsd_m} m of Sentinel-2 has; fetch it again.")
    return band
