"""OSCD (Caye Daudt et al. 2018): 24 cities at two dates of Sentinel-2 L1C, and what was built between them."""

import datetime as dt
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from affine import Affine

from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError, SceneError
from bandloom.finetune.public_sets.pixels import check_cirrus, scene_of_dn
from bandloom.finetune.public_sets.place import Place
from bandloom.finetune.public_sets.public_set import Facts, PublicSet, SetSample
from bandloom.finetune.public_sets.raster_files import read_stored, same_size
from bandloom.finetune.public_sets.roles import with_validation
from bandloom.sensors import SLOTS
from bandloom.shards.labels.label_array import LabelArray
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, Labels
from bandloom.shards.scenes import Scene

NAME = "Onera Satellite Change Detection dataset - "
IMAGES, LABELS = f"{NAME}Images", {"train": f"{NAME}Train Labels", "test": f"{NAME}Test Labels"}
BAND = re.compile(r"(?:.*_)?(B\d\d|B8A)\.tif")
CODES = {"cm.png": {0: 0, 255: 1}, "-cm.tif": {1: 0, 2: 1}}  # unchanged, changed
APART_M = 100_000.0  # between cities without a place, on a plane of no coordinate system
SQUARES = 9


class Oscd(PublicSet):
    """Images/CITY/imgs_1_rect and imgs_2_rect, dates.txt, and Train or Test Labels/CITY/cm."""

    facts = Facts(
        form="oscd",
        title="OSCD, Onera Satellite Change Detection",
        task="change",
        label_set="oscd2",
        sensor="sentinel2-l1c",
        bands=SLOTS,
        units="10000 x reflectance",
        offset=0,
        side_px=240,
        splits=("official",),
        layout=f"'{IMAGES}'/CITY/imgs_1_rect, imgs_2_rect and dates.txt, and '{LABELS['train']}'/CITY/cm/cm.png",
        licence="CC BY-NC-SA 4.0",
        source="https://rcdaudt.github.io/oscd",
        size="24 pairs of 6 km, 0.5 GB",
        pixels="registered and resampled to 10 m by the source; 20 and 60 m bands are block means of that",
        unsettled=(
            "whether the registered images have a coordinate system: without one in UTM their samples have no place",
            "validation is our own: whole cities of the published training, since it publishes none",
        ),
    )

    @classmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder that holds images and labels."""
        return root if not root.zipped and root.has(IMAGES) and root.has(LABELS["train"]) else None

    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return both dates of every city that has a map of changes, in the order of their names."""
        roles = {role: set((self.place / folder).names()) for role, folder in LABELS.items()}
        both = sorted(roles["train"] & roles["test"])
        if both:
            raise LabelError(f"{self.root} has labels of {both[0]} for training and for the test; keep one.")
        samples = []
        for city in (self.place / IMAGES).names():
            role = next((role for role, cities in roles.items() if city in cities), None)
            if role is None or not (self.place / IMAGES / city).has("imgs_1_rect"):
                continue
            self._dates(city)
            for number in (1, 2):
                path = self.place.path / IMAGES / city / f"imgs_{number}_rect"
                samples.append(SetSample(str(path), f"{city}-{number}", {"official": role}, squares=SQUARES))
        missing = sorted((roles["train"] | roles["test"]) - {Path(sample.path).parent.name for sample in samples})
        if missing:
            problems.add(
                str(self.root), f"{len(missing)} cities have labels and no images, such as {missing[0]}.", "warning"
            )
        return with_validation(samples, "official", lambda sample: Path(sample.path).parent.name)

    def open(self, path: str) -> Scene:
        """Open one date of a city on the frame of its first date, on which its map lies."""
        folder = Path(path)
        city, number = folder.parent, int(folder.name[5])
        files: dict[str, Path] = {}
        for file in sorted(folder.iterdir()):
            match = BAND.fullmatch(file.name)
            if match and match[1] in files:
                raise SceneError(f"{path} holds {files[match[1]].name} and {file.name} for one band; keep one of them.")
            if match:
                files[match[1]] = file
        if set(files) != set(SLOTS):
            raise SceneError(f"{path} lacks {', '.join(sorted(set(SLOTS) - set(files)))}; fetch it again.")
        stored = {band: read_stored(files[band]).values[0] for band in SLOTS}
        first = read_stored(next(p for p in (city / "imgs_1_rect").iterdir() if BAND.fullmatch(p.name)))
        values = same_size(list(stored.values()), path)
        cities = (self.place / IMAGES).names()
        nowhere = Affine(10, 0, APART_M * cities.index(city.name), 0, -10, 0)
        day = self._dates(city.name)[number - 1]
        told = {"crs": first.crs, "transform": first.transform or nowhere, "datetime": day}
        scene = scene_of_dn(values, self.facts.own_sensor, SLOTS, path, offset=self.facts.offset, **told)
        check_cirrus(scene, self.facts)
        return scene

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels | None:
        """Open a city's map of changes for its later date; the earlier one has none."""
        folder = Path(path)
        city, number = folder.parent.name, int(folder.name[5])
        days = self._dates(city)
        if days[number - 1] != max(days):
            return None
        file, codes = self._map(city)
        bands = read_stored(file).values
        if any(not np.array_equal(band, bands[0]) for band in bands[1:3]):
            raise LabelError(
                f"{file} is a picture in colours; expected one value a pixel: {', '.join(map(str, codes))}."
            )
        unknown = set(np.unique(bands[0]).tolist()) - set(codes)
        if unknown:
            raise LabelError(f"{file} holds {min(unknown)}; expected {' and '.join(map(str, codes))} alone.")
        changed = np.zeros(bands[0].shape, np.uint8)
        for value, code in codes.items():
            changed[bands[0] == value] = code
        return LabelArray(changed, Ground.of(scene), taxonomy, file)

    def _map(self, city: str) -> tuple[Path, dict[int, int]]:
        for folder in LABELS.values():
            place = self.place.path / folder / city / "cm"
            for name, codes in (("cm.png", CODES["cm.png"]), (f"{city}-cm.tif", CODES["-cm.tif"])):
                if (place / name).is_file():
                    return place / name, codes
        raise LabelError(f"{self.root} has no cm.png and no {city}-cm.tif of {city}; fetch the labels again.")

    def _dates(self, city: str) -> tuple[dt.datetime, dt.datetime]:
        """Return both dates of a city.

        Raises:
            LabelError: dates.txt does not say two that differ.
        """
        text = (self.place / IMAGES / city).text("dates.txt")
        said = dict(re.findall(r"date_([12])\s*:\s*(\d{8})\b", text))
        try:
            days = tuple(dt.datetime.strptime(said[number], "%Y%m%d").replace(tzinfo=dt.UTC) for number in "12")
        except (KeyError, ValueError) as cause:
            raise LabelError(
                f"dates.txt of {city} says {text.strip()!r}; expected date_1: and date_2: YYYYMMDD."
            ) from cause
        if days[0] == days[1]:
            raise LabelError(f"dates.txt of {city} says {said['1']} twice; fetch it again.")
        return days[0], days[1]
