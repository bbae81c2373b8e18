"""Random fields and shapes on a pixel grid: rough terrain, parcels with straight edges, rivers of even width."""

from dataclasses import dataclass

import numpy as np


def gaussian_field(rng: np.random.Generator, size_px: int, beta: float) -> np.ndarray:
    """Draw a periodic Gaussian random field with power spectrum ``f ** -beta``, ``(H, W)`` float32 of unit variance."""
    frequency = np.hypot(np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None]).astype(np.float32)
    frequency[0, 0] = 1.0
    noise = rng.standard_normal((size_px, size_px), dtype=np.float32)
    field = np.fft.irfft2(np.fft.rfft2(noise) * frequency ** np.float32(-beta / 2), s=(size_px, size_px))
    return ((field - field.mean()) / field.std()).astype(np.float32)


@dataclass(frozen=True)
class Parcels:
    """Fields of a farmed plain: every pixel's parcel number, whether it lies on an edge, and its place across rows."""

    number: np.ndarray  # (H, W) int64 in 0..4095
    edge: np.ndarray  # (H, W) bool, one pixel wide
    across_px: np.ndarray  # (H, W) float32: the coordinate across the parcels' rows, in pixels


def draw_parcels(rng: np.random.Generator, size_px: int, across_px: float) -> Parcels:
    """Cut the plane into parcels about ``across_px`` wide: a turned, stretched grid, gently bent."""
    y, x = np.mgrid[:size_px, :size_px].astype(np.float32)
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 2.5)
    sin, cos = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    bend = np.float32(0.15)
    u = (x * cos + y * sin) / np.float32(across_px * stretch) + bend * gaussian_field(rng, size_px, 3.0)
    v = (y * cos - x * sin) / np.float32(across_px) + bend * gaussian_field(rng, size_px, 3.0)
    column, row = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    number = ((column * 73856093) ^ (row * 19349663)) % 4096
    near_u = np.minimum(u - column, column + 1 - u) * np.float32(across_px * stretch)
    near_v = np.minimum(v - row, row + 1 - v) * np.float32(across_px)
    return Parcels(number, (near_u < 0.5) | (near_v < 0.5), y * cos - x * sin)


def draw_rivers(rng: np.random.Generator, size_px: int, half_width_px: float) -> np.ndarray:
    """Draw winding rivers, ``(H, W)`` bool: the zero line of a smooth field, widened evenly by its slope."""
    field = gaussian_field(rng, size_px, 3.6)
    slope_y, slope_x = np.gradient(field)
    return np.abs(field) < np.float32(half_width_px) * np.hypot(slope_x, slope_y)
