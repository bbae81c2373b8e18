"""Colour-blind check of class colours: which pairs look alike to normal, protan, deutan and tritan sight."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_DISTANCE = 10.0  # CIEDE2000; about 1 is just seen of two patches side by side, on a map they lie apart and small
NORMAL = "normal"
# full strength, on linear RGB: Machado, Oliveira and Fernandes (2009), doi:10.1109/TVCG.2009.113, table 1
MACHADO = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
SIGHTS = {NORMAL: np.eye(3), **{name: np.array(rows) for name, rows in MACHADO.items()}}
# IEC 61966-2-1: linear sRGB to XYZ, and the white of D65
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = TO_XYZ.sum(axis=1)
SHOWN = 3


@dataclass(frozen=True)
class Alike:
    """Two classes whose colours lie close together: to which sight most, and how close in CIEDE2000."""

    first: str
    second: str
    sight: str
    distance: float
    normal: float

    @property
    def to_all(self) -> bool:
        """Whether they look alike to normal sight too."""
        return self.normal < LEAST_DISTANCE

    def __str__(self) -> str:
        """Name the pair, the sight and the distance."""
        seen = "any sight" if self.to_all else f"{self.sight} sight"
        return f"{self.first} and {self.second} ({self.normal if self.to_all else self.distance:.1f}, {seen})"


def alike(names: Sequence[str], colours: Sequence[str], least: float = LEAST_DISTANCE) -> list[Alike]:
    """Return the pairs of classes that lie nearer than ``least`` to some sight, the nearest first.

    Args:
        names: of classes.
        colours: of each, ``#rrggbb``.
        least: distance in CIEDE2000 from which two colours count as different.
    """
    rgb = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours], float).reshape(-1, 3)
    rows, columns = np.triu_indices(len(rgb), 1)
    apart = {
        sight: ciede2000(seen[rows], seen[columns]) for sight in SIGHTS for seen in (lab(seen_by(linear(rgb), sight)),)
    }
    pairs = []
    for number, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        sight = min(SIGHTS, key=lambda name: apart[name][number])
        distance = float(apart[sight][number])
        if distance < least:
            pairs.append(Alike(names[row], names[column], sight, distance, float(apart[NORMAL][number])))
    return sorted(pairs, key=lambda pair: pair.distance)


def sentence(names: Sequence[str], colours: Sequence[str]) -> str:
    """Return one sentence on the classes whose colours are hard to tell apart; empty where there are none."""
    pairs = alike(names, colours)
    if not pairs:
        return ""
    told = ", ".join(map(str, pairs[:SHOWN]))
    more = f", and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
    what = "pair of classes has colours" if len(pairs) == 1 else "pairs of classes have colours"
    return f"{len(pairs)} {what} nearer than {LEAST_DISTANCE:g} in CIEDE2000 to some sight: {told}{more}."


def linear(rgb: np.ndarray) -> np.ndarray:
    """Return linear 0..1 of sRGB 0..255."""
    share = np.asarray(rgb, float) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def seen_by(light: np.ndarray, sight: str) -> np.ndarray:
    """Return linear RGB ``(..., 3)`` as a sight of :data:`SIGHTS` sees it."""
    return np.clip(light @ SIGHTS[sight].T, 0, 1)


def lab(light: np.ndarray) -> np.ndarray:
    """Return CIELAB ``(..., 3)`` of linear sRGB, under D65."""
    share = light @ TO_XYZ.T / WHITE
    root = np.where(share > (6 / 29) ** 3, np.cbrt(share), share * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the CIEDE2000 distance of colours in CIELAB, ``(..., 3)``.

    Sharma, Wu and Dalal (2005), doi:10.1002/col.20070, whose numbers of equations stand beside.
    """
    (l1, a1, b1), (l2, a2, b2) = (np.moveaxis(np.asarray(colour, float), -1, 0) for colour in (one, other))
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))  # 4, 5
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)  # 6
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))  # 7
    grey = c1 * c2 == 0
    turn = np.where(grey, 0, (h2 - h1 + 180) % 360 - 180)  # 10
    turn = np.where(~grey & (h2 - h1 == 180), 180.0, turn)
    hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))  # 11
    light, c = (l1 + l2) / 2, (c1 + c2) / 2  # 12, 13
    half = (h1 + h2) / 2
    h = np.where(np.abs(h1 - h2) <= 180, half, np.where(h1 + h2 < 360, half + 180, half - 180))  # 14
    h = np.where(grey, h1 + h2, h)

    def wave(times: int, ahead: float) -> np.ndarray:
        return np.cos(np.radians(times * h + ahead))

    weight = 1 - 0.17 * wave(1, -30) + 0.24 * wave(2, 0) + 0.32 * wave(3, 6) - 0.20 * wave(4, -63)  # 15
    by_light = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)  # 18
    by_chroma, by_hue = 1 + 0.045 * c, 1 + 0.015 * c * weight  # 19, 20
    rotation = (
        -2 * np.sqrt(c**7 / (c**7 + 25.0**7)) * np.sin(np.radians(60 * np.exp(-(((h - 275) / 25) ** 2))))
    )  # 16, 21
    terms = (l2 - l1) / by_light, (c2 - c1) / by_chroma, hue / by_hue
    return np.sqrt(sum(term**2 for term in terms) + rotation * terms[1] * terms[2])  # 22
