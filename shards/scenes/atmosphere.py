"""Dark-object subtraction (DOS1, COST) of path radiance from top-of-atmosphere reflectance, per scene.

Chavez (1988, 1996): ``rho = pi d^2 (L - L_path) / (E cos(z) T)`` for a sun at zenith angle ``z``; the darkest ground
reflects one per cent: ``L_path = L_dark - 0.01 E cos(z) T / (pi d^2)``. With ``rho_toa = pi d^2 L / (E cos(z))``:

- ``dos1``, ``T = 1``: ``rho = rho_toa - rho_dark + 0.01``
- ``cost``, ``T = cos(z)`` below 1 micrometre (the air dims the sunlight on its way down), 1 in the short-wave infrared:
  ``rho = (rho_toa - rho_dark) / T + 0.01``. Only for suns 35 degrees or more above the horizon.

``rho_dark`` is the 0.01 % quantile of a band over the whole scene (never of a sample: a cloudy one has no dark ground),
forced not to rise with wavelength, as scattered light never does.
"""

from collections.abc import Mapping

import numpy as np

from bandloom.errors import SceneError
from bandloom.rasters.values import dn_to_reflectance, reflectance_to_dn, valid
from bandloom.sensors import Sensor

METHODS = ("none", "dos1", "cost")
DARK_SHARE = 1e-4
DARK_REFLECTANCE = 0.01
_LEAST_SAMPLES = 1000
_LOWEST_SUN_DEGREES = 35.0
_GAS_SLOTS = ("B09", "B10")  # water vapour and cirrus: no ground to be dark


def dark_reflectance(sensor: Sensor, samples: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return every band's dark value in reflectance, by slot; gas bands are left out.

    Args:
        sensor: whose bands they are.
        samples: DN by slot, any shape, from all over the scene.

    Raises:
        SceneError: the sensor measures surface reflectance already, or too little was measured.
    """
    if sensor.reflectance != "toa":
        raise SceneError(
            f"sensor {sensor.name!r} gives surface reflectance; the air is out already: use --atmosphere none."
        )
    bands = sorted((b for b in sensor.bands if b.slot and b.slot not in _GAS_SLOTS), key=lambda band: band.centre_nm)
    dark: dict[str, float] = {}
    lowest = np.inf
    for band in bands:
        dn = samples[band.slot or ""]
        dn = dn[valid(dn)]
        if dn.size < _LEAST_SAMPLES:
            raise SceneError(f"band {band.name} has {dn.size} measured samples; a dark object needs {_LEAST_SAMPLES}.")
        lowest = min(lowest, float(np.quantile(dn_to_reflectance(dn), DARK_SHARE)))
        dark[band.slot or ""] = lowest
    return dark


def correct(
    groups: Mapping[int, np.ndarray],
    sensor: Sensor,
    dark: Mapping[str, float],
    method: str,
    sun_elevation_degrees: float = 90.0,
) -> dict[int, np.ndarray]:
    """Return ``{gsd_m: (C, H, W)}`` uint16 DN with the path light taken out; gas bands, absent and saturated unchanged.

    Raises:
        SceneError: the method is not known, or the sun stands too low for it.
    """
    if method not in METHODS:
        raise SceneError(f"--atmosphere {method!r} is not known; use one of {', '.join(METHODS)}.")
    if method == "cost" and sun_elevation_degrees < _LOWEST_SUN_DEGREES:
        raise SceneError(
            f"the sun stands {sun_elevation_degrees:.0f} degrees high; cost needs {_LOWEST_SUN_DEGREES:.0f}: use dos1."
        )
    if method == "none":
        return dict(groups)
    cosine = np.sin(np.radians(sun_elevation_degrees))
    corrected = {gsd_m: pixels.copy() for gsd_m, pixels in groups.items()}
    for group in sensor.groups:
        for index, band in enumerate(group.bands):
            if band.slot is None or band.slot not in dark:
                continue
            dn = groups[group.gsd_m][index]
            transmitted = cosine if method == "cost" and band.centre_nm < 1000 else 1.0
            clear = (dn_to_reflectance(dn) - dark[band.slot]) / transmitted + DARK_REFLECTANCE
            corrected[group.gsd_m][index] = np.where(valid(dn), reflectance_to_dn(clear), dn)
    return corrected
