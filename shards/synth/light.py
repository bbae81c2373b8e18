"""Radiative model of synthetic scenes: sun, slopes, clouds, single-scattering air, sensor blur and noise.

Top-of-atmosphere reflectance is ``gas * (path + T * rho / (1 - S * rho))`` (Vermote et al. 1997, 6S); the Rayleigh
optical depth is ``0.00864 * wl ** -(3.916 + 0.074 wl + 0.05 / wl)`` with wl in micrometres (Froehlich and Shaw 1980).
"""

from dataclasses import dataclass

import numpy as np

from bandloom.sensors import BandGroup, get_sensor
from bandloom.shards.synth.fields import gaussian_field
from bandloom.shards.synth.ground import Ground, abundances, spectra

SENSOR = get_sensor("sentinel2-l1c")
PSF_SIGMA_PX = 0.6  # about 0.2 of modulation transfer at Nyquist
CLOUD_THRESHOLD = 0.3  # optical opacity above which a pixel counts as cloud


@dataclass(frozen=True)
class Sky:
    """One acquisition: sun, aerosol, season, and how much cloud (all drawn from the acquisition's own seed)."""

    sun_cosine: float
    sun_azimuth: float
    aerosol: float  # optical depth at 550 nm
    season: float  # 0..1
    opacity: np.ndarray  # (H, W) float32, cloud opacity 0..0.95
    shadow: np.ndarray  # (H, W) float32
    cirrus: np.ndarray  # (H, W) float32, reflectance it adds
    tint: np.ndarray  # (13,) float32, slow spectral drift of this day's surfaces and calibration
    psf_sigma_px: float = PSF_SIGMA_PX
    noise: float = 1.0  # times the specified noise


def draw_sky(rng: np.random.Generator, size_px: int, cloud_fraction: float) -> Sky:
    """Draw an acquisition over a square of ``size_px`` pixels of 10 m."""
    sun_cosine, azimuth = rng.uniform(0.45, 0.9), rng.uniform(0, 2 * np.pi)
    aerosol, season = rng.uniform(0.03, 0.35), rng.random()
    field = gaussian_field(rng, size_px, 2.9)
    edge = np.quantile(field, 1 - cloud_fraction) if cloud_fraction else np.inf
    opacity = (np.clip((field - edge) / 0.25, 0, 1) * 0.95).astype(np.float32)
    shadow = np.roll(opacity, (int(18 / sun_cosine), -12), (0, 1)) * (1 - opacity)
    cirrus = np.clip(gaussian_field(rng, size_px, 3.2) - 1.2, 0, 2) * np.float32(rng.choice([0.0, 0.02]))
    slope, level = rng.normal(0, 0.04, 2)
    tint = np.exp(level + slope * np.linspace(-1, 1, 13)).astype(np.float32)
    return Sky(sun_cosine, azimuth, aerosol, season, opacity, shadow, cirrus, tint)


def measure(rng: np.random.Generator, ground: Ground, sky: Sky) -> dict[int, np.ndarray]:
    """Image the ground through the sky: ``{gsd_m: (C, H_g, W_g)}`` float32 top-of-atmosphere reflectance with noise."""
    shade = shading(ground, np.isin(ground.label, (80, 85)), sky)
    return image(rng, abundances(ground, sky.season), shade, sky)


def image(rng: np.random.Generator, shares: np.ndarray, shade: np.ndarray, sky: Sky) -> dict[int, np.ndarray]:
    """Image matter through the sky.

    Args:
        rng: of the noise.
        shares: of endmembers, ``(E, H, W)``.
        shade: light on the slopes, ``(H, W)``, as :func:`shading` returns it.
        sky: the acquisition.

    Returns:
        Top-of-atmosphere reflectance with noise, ``{gsd_m: (C, H_g, W_g)}`` float32.
    """
    table = spectra()
    endmembers = np.array(list(table["endmembers_x1000"].values()), np.float32) / 1000 * sky.tint
    shade = shade * (1 - np.float32(0.65) * sky.shadow)
    rows = {name: row for row, name in enumerate(table["bands"])}
    groups = {}
    for group in SENSOR.groups:
        chosen = [rows[slot] for slot in group.slots]
        surface = np.tensordot(endmembers[:, chosen].T, shares, 1) * shade
        if group.gsd_m == 10:
            surface = _blur(surface, sky.psf_sigma_px)
        factor = group.gsd_m // 10
        groups[group.gsd_m] = _through_air(rng, group, chosen, block_mean(surface, factor), sky)
    return groups


def block_mean(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Average ``(..., H, W)`` over ``factor`` x ``factor`` blocks."""
    if factor == 1:
        return pixels
    *lead, height, width = pixels.shape
    return pixels.reshape(*lead, height // factor, factor, width // factor, factor).mean((-3, -1))


def shading(ground: Ground, still: np.ndarray, sky: Sky) -> np.ndarray:
    """Light slopes by Lambert's cosine law, ``still`` water ``(H, W)`` excepted, with a fine brightness texture."""
    relief = ground.height * np.float32(12)
    down, right = np.gradient(relief)
    toward = right * np.cos(sky.sun_azimuth) + down * np.sin(sky.sun_azimuth)
    sine = np.sqrt(1 - sky.sun_cosine**2)
    cosine = (sky.sun_cosine - sine * toward / 10) / np.sqrt(1 + (right**2 + down**2) / 100)
    lit = np.where(still, 1.0, np.clip(0.2 + 0.8 * cosine / sky.sun_cosine, 0.15, 1.6))
    return (lit * np.exp(0.06 * ground.textures[0] + 0.012 * ground.textures[2])).astype(np.float32)


def _blur(bands: np.ndarray, sigma_px: float) -> np.ndarray:
    """Blur ``(C, H, W)`` by the sensor's point spread, so that neighbours mix at every border."""
    kernel = np.exp(-(np.arange(-2, 3, dtype=np.float32) ** 2) / (2 * sigma_px**2))
    kernel /= kernel.sum()
    for axis in (1, 2):
        bands = np.sum([weight * np.roll(bands, shift - 2, axis) for shift, weight in enumerate(kernel)], 0)
    return bands


def _through_air(
    rng: np.random.Generator, group: BandGroup, rows: list[int], surface: np.ndarray, sky: Sky
) -> np.ndarray:
    """Add clouds, air, cirrus and noise on the group's own grid, band by band."""
    table, factor = spectra(), group.gsd_m // 10
    opacity, cirrus = block_mean(sky.opacity, factor), block_mean(sky.cirrus, factor)
    out = np.empty_like(surface)
    for index, (band, row) in enumerate(zip(group.bands, rows, strict=True)):
        wave_um = band.centre_nm / 1000
        cloud = 0.72 if wave_um < 1.2 else 0.45 if wave_um < 2 else 0.35
        rho = np.clip(surface[index], 0, 1.2) * (1 - opacity) + np.float32(cloud) * opacity
        gas = table["gas_x1000"][row] / 1000
        above = gas**0.5 if band.slot in ("B09", "B10") else gas  # a cloud top stands above most water vapour
        path, transmittance, albedo = _air(wave_um, sky)
        toa = (gas * (1 - opacity) + above * opacity) * (path + transmittance * rho / (1 - albedo * rho))
        toa = toa + cirrus * np.float32(1.0 if wave_um < 1.5 else 0.6)
        reference = table["reference_x1000"][row] / 1000
        sigma = sky.noise * 0.7 * reference / table["snr"][row] * np.sqrt(np.maximum(toa, 0.01) / reference)
        out[index] = toa + sigma * rng.standard_normal(toa.shape, dtype=np.float32)
    return out


def _air(wave_um: float, sky: Sky) -> tuple[np.float32, np.float32, np.float32]:
    """Return path reflectance, two-way transmittance and spherical albedo of clear air and aerosol."""
    rayleigh = 0.00864 * wave_um ** -(3.916 + 0.074 * wave_um + 0.05 / wave_um)
    aerosol = sky.aerosol * (wave_um / 0.55) ** -1.3
    path = (rayleigh * 0.95 + aerosol * 0.18) / (4 * sky.sun_cosine)
    transmittance = np.exp(-(0.52 * rayleigh + 0.16 * aerosol) * (1 / sky.sun_cosine + 1))
    albedo = 0.92 * rayleigh * np.exp(-rayleigh) + 0.1 * aerosol
    return np.float32(path), np.float32(transmittance), np.float32(albedo)
