"""Vector masks of ESA's products (GML): their features, and the pixels of a window that lie in them."""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

import numpy as np
from affine import Affine
from rasterio.features import rasterize

_GML = "{http://www.opengis.net/gml/3.2}"
_EOP = "{http://www.opengis.net/eop/2.0}"
Outline = list[np.ndarray]  # rings of (N, 2) x and y in the scene's coordinates: the outer one, then its holes


def outlines(mask: Element, types: Sequence[str] = ("",)) -> list[Outline]:
    """Return the outlines of the features whose type begins as one of ``types``."""
    drawn = []
    for feature in mask.iter(f"{_EOP}MaskFeature"):
        if feature.findtext(f"{_EOP}maskType", "").startswith(tuple(types)):
            drawn += [_rings(polygon.iter(f"{_GML}posList")) for polygon in feature.iter(f"{_GML}Polygon")]
    return [rings for rings in drawn if rings]


def burn(drawn: Sequence[Outline], shape: tuple[int, ...], transform: Affine, *, touched: bool) -> np.ndarray:
    """Return ``shape`` bool, True for pixels whose centre lies inside; ``touched``: for all that outlines meet."""
    if not drawn:
        return np.zeros(shape, bool)
    shapes = [({"type": "Polygon", "coordinates": [ring.tolist() for ring in rings]}, 1) for rings in drawn]
    return np.asarray(rasterize(shapes, shape, fill=0, transform=transform, dtype=np.uint8, all_touched=touched), bool)


def _rings(lists: Iterable[Element]) -> Outline:
    """Return the rings of coordinate lists, whose points have two or three numbers; heights are left out."""
    rings = []
    for items in lists:
        ring = np.array((items.text or "").split(), float).reshape(-1, int(items.get("srsDimension", 2)))[:, :2]
        if len(ring) > 3:
            rings.append(ring)
    return rings
