"""What cells of the second kind of ground are made of, and how season and climate show in them."""

import numpy as np

from bandloom.shards.synth.ground import abundances_of, blotchy, scattered, streets
from bandloom.shards.synth.surroundings import (
    BELT,
    CANOPY,
    COUNTRY,
    CROP_BARE,
    CROP_GREEN,
    GRASS,
    HOUSES,
    TELLS,
    TOWN,
    WATER,
    WET,
    WOODS,
    Surroundings,
)

_SHARED = {
    GRASS: ("grass", "grass_dry"),
    HOUSES: ("asphalt", "roof_tile", "concrete", "grass", "soil_dry"),
    CANOPY: ("tree_broad", "soil_dry", "grass_dry"),
    CROP_GREEN: ("crop_green", "crop_sparse"),
    CROP_BARE: ("crop_sparse", "soil_dry", "crop_green"),
    WET: ("reed", "grass", "water_turbid"),
    WATER: ("water_clear", "water_turbid"),
    BELT: ("shrub", "grass_dry"),
}
# by season (summer, winter) and climate (cold, warm): soils are wet and woods bare in winter; warm places are red
_TELLING = {
    COUNTRY: (
        (("soil_dry", "grass_dry"), ("soil_dry", "roof_tile")),
        (("soil_wet", "grass_dry"), ("soil_wet", "roof_tile")),
    ),
    TOWN: (
        (("concrete", "asphalt"), ("concrete", "asphalt", "roof_tile")),
        (("asphalt", "soil_wet"), ("asphalt", "roof_tile", "soil_wet")),
    ),
    WOODS: (
        (("tree_broad", "tree_conifer"), ("mangrove", "tree_broad")),
        (("tree_conifer", "soil_wet"), ("mangrove", "soil_wet")),
    ),
}
_ARRANGED = {HOUSES: streets, CANOPY: scattered}


def abundances(place: Surroundings) -> np.ndarray:
    """Say what every pixel is made of, ``(E, H, W)`` float32 summing to one over endmembers."""
    matter = dict(_SHARED)
    for district, told in _TELLING.items():
        matter[TELLS + district] = told[place.winter][place.warm]
    return abundances_of(place.ground, 0.0, matter, {code: _ARRANGED.get(code, blotchy) for code in matter})
