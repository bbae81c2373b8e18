"""The second kind of ground: classes that share matter and texture, and differ by what lies a few hundred metres away.

Cells of about 300 m lie in districts (country, town, woods), with a neutral belt between them. Nearly half of the cells
show their district, the season and the climate of the place; the others share their matter with another class: grass is
field or park, houses are village or industry, open canopy is orchard or forest edge by district; a crop is a winter or
a summer crop by its state and the season; wet vegetation is marsh or paddy by place; water is pond or lake by size,
and river or canal by shape.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import yaml

from bandloom.classes.label_set import LabelSet
from bandloom.shards.synth import cells as geometry
from bandloom.shards.synth.cells import Cells
from bandloom.shards.synth.fields import draw_parcels, gaussian_field
from bandloom.shards.synth.ground import Ground

COUNTRY, TOWN, WOODS = range(3)
TELLING = 0.45  # share of the cells that show district, season and place
# matter of a cell: what it is made of, whatever its class; see matter.py
GRASS, HOUSES, CANOPY, CROP_GREEN, CROP_BARE, WET, WATER, BELT, TELLS = range(9)
SHARED = {
    COUNTRY: (GRASS, HOUSES, CANOPY, CROP_GREEN, CROP_BARE, WET, WATER),
    TOWN: (GRASS, HOUSES, CROP_GREEN, CROP_BARE, WET, WATER),
    WOODS: (CANOPY, CROP_GREEN, CROP_BARE, WET, WATER),
}


@cache
def label_set() -> LabelSet:
    """Return the seventeen classes of this kind of ground; code 0, the belt, is no class."""
    table = yaml.safe_load(files("bandloom.shards.synth").joinpath("surroundings.yaml").read_text())
    return LabelSet.from_dict(table["labels"])


@dataclass(frozen=True)
class Surroundings:
    """A place of this kind in one season.

    Args:
        ground: heights and textures; its ``label`` holds codes of matter, ``TELLS + district`` where a cell tells.
        label: ``(H, W)`` uint8 codes of :func:`label_set`.
        winter: whether woods are bare and soils wet.
        warm: the climate of the place.
    """

    ground: Ground
    label: np.ndarray
    winter: bool
    warm: bool


def draw_surroundings(rng: np.random.Generator, size_px: int, *, warm: bool, winter: bool) -> Surroundings:
    """Draw a place; in another season the same crops stand otherwise, woods and soils too."""
    cells = geometry.draw_cells(rng, size_px)
    district = geometry.at_centres(cells, geometry.draw_districts(rng, size_px))
    matter = _matter_of_cells(rng, district)
    classes = _class_of_cells(matter, district, warm=warm)
    if not winter:  # what is green in winter is bare in summer
        matter = np.where(np.isin(matter, (CROP_GREEN, CROP_BARE)), CROP_GREEN + CROP_BARE - matter, matter)
    matter_map = np.where(cells.core, matter[cells.number], BELT).astype(np.uint8)
    label = np.where(cells.core, classes[cells.number], 0).astype(np.uint8)
    _add_waters(rng, matter_map, label)
    _drop_cut_cells(cells, label, matter_map)
    textures = np.stack([gaussian_field(rng, size_px, beta) for beta in (2.6, 2.3, 1.6)])
    parcels, phase = draw_parcels(rng, size_px, 20.0), rng.random(4096, dtype=np.float32)
    height = np.float32(0.5) * gaussian_field(rng, size_px, 3.2)
    ground = Ground(matter_map, height, textures, parcels, phase, 3.2, rng.uniform(6.0, 11.0))
    return Surroundings(ground, label, winter, warm)


def _matter_of_cells(rng: np.random.Generator, district: np.ndarray) -> np.ndarray:
    """Draw what each cell is made of: nearly half of them show their district, the rest what districts share."""
    matter = np.empty(len(district), np.uint8)
    tells, pick = rng.random(len(district)) < TELLING, rng.random(len(district))
    for kind, shared in SHARED.items():
        own = district == kind
        matter[own] = np.array(shared, np.uint8)[(pick[own] * len(shared)).astype(int)]
    matter[tells] = TELLS + district[tells]
    return matter


def _class_of_cells(matter: np.ndarray, district: np.ndarray, *, warm: bool) -> np.ndarray:
    """Return the class code of each cell by its matter in winter and by what its surroundings show."""
    code = np.zeros(len(matter), np.uint8)
    code[matter == GRASS] = 31
    code[(matter == GRASS) & (district == TOWN)] = 32
    code[matter == HOUSES] = 51
    code[(matter == HOUSES) & (district == TOWN)] = 52
    code[matter == CANOPY] = 46
    code[(matter == CANOPY) & (district == WOODS)] = 47
    code[matter == CROP_GREEN], code[matter == CROP_BARE] = 41, 42
    code[matter == WET] = 92 if warm else 91
    code[matter == WATER] = 81
    for kind, told in ((COUNTRY, 61), (TOWN, 60), (WOODS, 10)):
        code[matter == TELLS + kind] = told
    return code


def _add_waters(rng: np.random.Generator, matter: np.ndarray, label: np.ndarray) -> None:
    """Lay lakes, a river and a canal over the cells, each with a neutral bank."""
    size_px = len(label)
    shore = geometry.draw_lakes(rng, size_px, max(1, round(size_px / 160)))
    waters = [(shore, 82)]
    for winding, code in ((True, 86), (False, 87)):
        middle = geometry.draw_line(rng, size_px, winding=winding)
        waters.append((geometry.LINE_PX - middle, code))
    for inside, code in waters:
        bank, water = inside > -geometry.BANK_PX, inside > 0
        matter[bank], label[bank] = BELT, 0
        matter[water], label[water] = WATER, code


def _drop_cut_cells(cells: Cells, label: np.ndarray, matter: np.ndarray) -> None:
    """Make belt of the cells of which waters left less than half: a slip of a pond would be told by its size."""
    own = cells.core & ~np.isin(label, (82, 86, 87))
    there = np.bincount(cells.number[own & (label > 0)], minlength=len(cells.centre_px))
    cut = there < 0.5 * np.bincount(cells.number[cells.core], minlength=len(cells.centre_px))
    gone = own & cut[cells.number]
    label[gone], matter[gone] = 0, BELT
