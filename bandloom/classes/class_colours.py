"""Default class colours: by the meaning of a class's name, or else hues that stay apart."""

import colorsys
import re
from collections.abc import Sequence

# the legend of ESA WorldCover 2021 (Product User Manual v2.0), with words that mean the same
OF_WORDS = {
    "#006400": ("tree", "forest", "wood"),
    "#ffbb22": ("shrub",),
    "#ffff4c": ("grass", "meadow", "pasture"),
    "#f096ff": ("crop", "field", "arable"),
    "#fa0000": ("built", "urban", "residential", "settlement", "city"),
    "#b4b4b4": ("bare", "barren", "rock", "sand", "soil"),
    "#f0f0f0": ("snow", "ice", "glacier"),
    "#0064c8": ("water", "lake", "sea", "ocean", "river"),
    "#0096a0": ("wetland", "marsh", "swamp"),
    "#00cf75": ("mangrove",),
    "#fae6a0": ("moss", "lichen"),
}
GOLDEN = 0.618034  # of the colour circle, from one hue to the next: any number of them stay apart


def with_colours(names: Sequence[str], colours: Sequence[str]) -> list[str]:
    """Return ``#rrggbb`` a class: the one given, or for an empty one a colour that no other class has.

    Args:
        names: the classes' names; the first that speaks of water is blue.
        colours: as given, empty where a class has none.
    """
    taken, filled, hue = {colour.lower() for colour in colours}, list(colours), 0
    for index, name in enumerate(names):
        if filled[index]:
            continue
        colour = _expected(name)
        while not colour or colour in taken:
            colour, hue = _hue(hue), hue + 1
        filled[index] = colour
        taken.add(colour)
    return filled


def _expected(name: str) -> str:
    """Return the colour of the first known word in a name such as ``SeaLake``, ``bare ground`` or ``croplands``."""
    told = [part.lower() for part in re.findall(r"[A-Z]?[a-z]+", name)]
    return next(
        (
            colour
            for part in told
            for colour, words in OF_WORDS.items()
            if any(re.fullmatch(f"{word}(?:land|wood)?(?:s|es)?", part) for word in words)
        ),
        "",
    )


def _hue(index: int) -> str:
    red, green, blue = colorsys.hsv_to_rgb((0.09 + index * GOLDEN) % 1, 0.65, 0.85)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
