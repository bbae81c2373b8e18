"""Geometry of the second kind of ground: cells with a belt between them, districts, lakes, rivers and canals."""

from dataclasses import dataclass

import numpy as np

from bandloom.shards.synth.fields import gaussian_field

CELL_PX = (27.0, 32.0)  # a cell and its belt: 270 to 320 m
BELT_PX = 4.2  # half of the belt between two cells: beyond the 90 m that 3 x 3 tokens reach from a cell's inside
BANK_PX = 9.0  # neutral ground along rivers, canals and lakes
LINE_PX = 3.4  # half of the width of a river or a canal
LAKE_PX = (26.0, 42.0)  # half of the length of a lake


@dataclass(frozen=True)
class Cells:
    """A turned, bent grid of cells over a square.

    Args:
        number: ``(H, W)`` int64, which cell a pixel belongs to, 0 .. count - 1.
        core: ``(H, W)`` bool, True inside of a cell, False on the belt.
        centre_px: ``(count, 2)`` float, mean row and column of each cell's pixels.
    """

    number: np.ndarray
    core: np.ndarray
    centre_px: np.ndarray


def draw_cells(rng: np.random.Generator, size_px: int) -> Cells:
    """Cut the square into cells about 300 m wide with a belt of 80 m between them."""
    y, x = np.mgrid[:size_px, :size_px].astype(np.float32)
    angle, width = rng.uniform(0, np.pi), np.float32(rng.uniform(*CELL_PX))
    sin, cos = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    bend = np.float32(0.12)
    u = (x * cos + y * sin) / width + bend * gaussian_field(rng, size_px, 3.4)
    v = (y * cos - x * sin) / width + bend * gaussian_field(rng, size_px, 3.4)
    column, row = np.floor(u), np.floor(v)
    pairs = np.stack([row.ravel(), column.ravel()]).astype(np.int64)
    _, number = np.unique(pairs, axis=1, return_inverse=True)
    number = number.reshape(size_px, size_px)
    to_edge = np.minimum(np.minimum(u - column, column + 1 - u), np.minimum(v - row, row + 1 - v)) * width
    pixels = np.bincount(number.ravel())
    centre = np.stack([np.bincount(number.ravel(), axis.ravel()) / pixels for axis in (y, x)], axis=1)
    return Cells(number, to_edge > BELT_PX, centre)


def at_centres(cells: Cells, plane: np.ndarray) -> np.ndarray:
    """Return the values of ``(H, W)`` at the cells' centres, ``(count,)``."""
    row, column = cells.centre_px.round().astype(int).clip(0, len(plane) - 1).T
    return plane[row, column]


def draw_districts(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """Draw three kinds of district of about 1 to 2 km, a third of the ground each: ``(H, W)`` uint8, 0 to 2."""
    field = gaussian_field(rng, size_px, 3.6) + np.float32(0.35) * gaussian_field(rng, size_px, 2.8)
    return np.digitize(field, np.quantile(field, (1 / 3, 2 / 3))).astype(np.uint8)


def draw_lakes(rng: np.random.Generator, size_px: int, count: int) -> np.ndarray:
    """Draw lakes of 0.5 to 0.8 km: ``(H, W)`` float32, pixels to the shore, positive on the water."""
    y, x = np.mgrid[:size_px, :size_px].astype(np.float32)
    inside = np.full((size_px, size_px), -np.inf, np.float32)
    rough = gaussian_field(rng, size_px, 3.2)
    for _ in range(count):
        row, column = rng.uniform(0, size_px, 2)
        angle, long = rng.uniform(0, np.pi), rng.uniform(*LAKE_PX)
        u = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
        v = (y - row) * np.cos(angle) - (x - column) * np.sin(angle)
        shore = long - np.hypot(u, v * rng.uniform(1.0, 1.35)) + 3 * rough
        inside = np.maximum(inside, shore.astype(np.float32))
    return inside


def draw_line(rng: np.random.Generator, size_px: int, *, winding: bool) -> np.ndarray:
    """Draw a band of water across the square: ``(H, W)`` float32, pixels from its middle line.

    A river swings by 60 to 90 m every 450 to 650 m; a canal is straight. Both have any direction.
    """
    y, x = np.mgrid[:size_px, :size_px].astype(np.float32) - np.float32(size_px / 2)
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.35, 0.35) * size_px
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle) - offset
    swing, period, phase = rng.uniform(6.0, 9.0), rng.uniform(45.0, 65.0), rng.uniform(0, 2 * np.pi)
    if not winding:
        return np.abs(across).astype(np.float32)
    turn = 2 * np.pi * along / period + phase
    slope = swing * 2 * np.pi / period * np.cos(turn)
    return (np.abs(across - swing * np.sin(turn)) / np.sqrt(1 + slope**2)).astype(np.float32)
