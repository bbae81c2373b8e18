"""The five sets of GEO-Bench v1 that hold Sentinel-2: bands by their true names, codes, units."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bandloom.errors import SceneError
from bandloom.finetune.public_sets.geobench import NAMES, GeoBench
from bandloom.finetune.public_sets.public_set import Facts
from bandloom.sensors import SLOTS

L2A = tuple(slot for slot in SLOTS if slot != "B10")
SOURCE = "https://github.com/ServiceNow/geo-bench"
MEDIAN = {"median": "of several dates the median; a date such as 2018-09-24 takes that one"}
EUROSAT_CLASSES = (  # by index, as task_specs.pkl lists them
    "Industrial",
    "Residential",
    "AnnualCrop",
    "PermanentCrop",
    "River",
    "SeaLake",
    "HerbaceousVegetation",
    "Highway",
    "Pasture",
    "Forest",
)


def _layout(folder: str) -> str:
    return f"{folder}/default_partition.json and {folder}/ID.hdf5, in classification_v1.0 or segmentation_v1.0"


class MEuroSat(GeoBench):
    """m-eurosat: its B8A came last and was named 12, so that five bands have another's name."""

    folder = "m-eurosat"
    names = NAMES | {
        "B09": NAMES["B8A"],
        "B10": NAMES["B09"],
        "B11": NAMES["B10"],
        "B12": NAMES["B11"],
        "B8A": NAMES["B12"],
    }
    facts = Facts(
        form="m-eurosat",
        title="GEO-Bench v1 m-eurosat",
        task="classify",
        label_set="eurosat10",
        sensor="sentinel2-l1c",
        bands=SLOTS,
        units="10000 x reflectance",
        offset=0,
        side_px=66,
        splits=("default",),
        layout=_layout(folder),
        licence="MIT (EuroSAT)",
        source=SOURCE,
        size="4,000 chips of 640 m",
        pixels="all bands interpolated to 10 m by the source; 20 and 60 m bands are block means of that",
        unsettled=(
            "whether every file has the five wrong names: the band taken for B10 must be the darker of the two",
        ),
    )

    def word(self, index: int) -> str | None:
        """Return the class of an index, whose order is not EuroSAT's own."""
        return EUROSAT_CLASSES[index] if 0 <= index < len(EUROSAT_CLASSES) else None

    def check_bands(self, path: Path, values: Mapping[str, np.ndarray]) -> None:
        """Refuse an edition in which the names are right: what is taken for B10 must be darker than its neighbours."""
        cirrus, other = (float(np.median(values[band])) for band in ("B10", "B11"))
        if cirrus > other:
            raise SceneError(
                f"{path}: {self.names['B10']!r} ({cirrus:.0f}) is brighter than {self.names['B11']!r} ({other:.0f}), so"
                " its names are not those of the published edition, in which the first is the cirrus band; fetch that."
            )


class MBigEarthNet(GeoBench):
    """m-bigearthnet: floats, no place, 43 noughts and ones."""

    folder = "m-bigearthnet"
    floats = "dn"
    facts = Facts(
        form="m-bigearthnet",
        title="GEO-Bench v1 m-bigearthnet",
        task="multilabel",
        label_set="bigearthnet43",
        sensor="sentinel2-l2a",
        bands=L2A,
        units="10000 x reflectance, as floats",
        offset=0,
        side_px=120,
        splits=("default",),
        layout=_layout(folder),
        licence="CDLA-Permissive-1.0 (BigEarthNet)",
        source=SOURCE,
        size="22,000 patches of 1.2 km",
        pixels="20 and 60 m bands interpolated to 10 m by the source (bilinear); block means of that",
        unsettled=("the order of the 43 classes is torchgeo's, which is CORINE's: no file of a sample names them",),
    )


class MSo2Sat(GeoBench):
    """m-so2sat: eight channels of radar beside ten bands of reflectance 0 to 1, no place."""

    folder = "m-so2sat"
    floats = "reflectance"
    facts = Facts(
        form="m-so2sat",
        title="GEO-Bench v1 m-so2sat",
        task="classify",
        label_set="so2sat17",
        sensor="sentinel2-l1c",
        bands=("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
        units="reflectance",
        offset=0,
        side_px=36,
        splits=("default",),
        layout=_layout(folder),
        licence="CC BY 4.0 (So2Sat LCZ42)",
        source=SOURCE,
        size="21,964 chips of 320 m",
        pixels="20 m bands interpolated to 10 m by the source; no B01, B09, B10",
    )


class MCashew(GeoBench):
    """m-cashew-plant: cashew plantations in Benin, a mask a chip."""

    folder = "m-cashew"
    floats = "dn"
    facts = Facts(
        form="m-cashew-plant",
        title="GEO-Bench v1 m-cashew-plant",
        task="segment",
        label_set="cashew6",
        sensor="sentinel2-l2a",
        bands=L2A,
        units="10000 x reflectance",
        offset=0,
        side_px=258,
        splits=("default",),
        layout=_layout("m-cashew-plant"),
        licence="CC BY 4.0 (Smallholder Cashew Plantations in Benin)",
        source=SOURCE,
        size="1,800 chips of 2.6 km",
        pixels="20 and 60 m bands interpolated to 10 m by the source; block means of that",
        choices=MEDIAN,
        unsettled=("its spatial_resolution of 0.5 m is a mistake of the source: pixels are taken as 10 m",),
    )


class MSaCropType(GeoBench):
    """m-SA-crop-type: fields in South Africa, a mask a chip."""

    folder = "m-SA-crop"
    floats = "dn"
    facts = Facts(
        form="m-sa-crop-type",
        title="GEO-Bench v1 m-SA-crop-type",
        task="segment",
        label_set="sacrop9",
        sensor="sentinel2-l2a",
        bands=L2A,
        units="10000 x reflectance",
        offset=0,
        side_px=258,
        splits=("default",),
        layout=_layout("m-SA-crop-type"),
        licence="CC BY 4.0 (Crop Type Classification, Western Cape)",
        source=SOURCE,
        size="5,000 chips of 2.6 km",
        pixels="20 and 60 m bands interpolated to 10 m by the source; block means of that",
        choices=MEDIAN,
        unsettled=(
            "its unit: its source scaled bands to bytes; values that no ground has at 10000 x reflectance are refused",
            "a notebook says that its labels look turned or mirrored: they are taken as they lie, and said where twenty"
            " masks fit better in another of the eight ways",
        ),
    )
