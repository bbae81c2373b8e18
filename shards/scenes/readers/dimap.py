"""THEOS-1 and THEOS-2 products in DIMAP form: channels and scales from the metadata alone.

THEOS-1 delivers green, blue, near infrared, red, and no tag in its GeoTIFF says so. Top-of-atmosphere reflectance is
``pi * L * d^2 / (E * sin(sun elevation))`` with ``L = value / GAIN + BIAS`` (SPOT Image, DIMAP 1.1; Airbus, DIMAP 2).
"""

import math
import re
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

from bandloom.errors import SceneError
from bandloom.sensors import Sensor, get_sensor
from bandloom.shards.scenes.grid import open_raster
from bandloom.shards.scenes.raster import Bands
from bandloom.shards.scenes.readers.product import Product
from bandloom.shards.scenes.scaled import ScaledScene
from bandloom.shards.scenes.stated import Scaling, Stated

_METADATA = re.compile(r"^(METADATA\.DIM|DIM_.*\.XML)$", re.IGNORECASE)
# Sun's irradiance at the top of the atmosphere, W/m2/um, where a product states none. None of THEOS's own was found;
# its blue is TM's and its other bands lie within 10 nm of TM's edges, so these are what USGS recommends for Landsat 5
# TM (landsat.usgs.gov/esun, of the ChKur spectrum); the scene's provenance says so
_SUN = {"blue": 1958.0, "green": 1827.0, "red": 1551.0, "nir": 1036.0}
_COLOURS = {
    "blue": ("BLUE", "B", "B0"),
    "green": ("GREEN", "G", "B1"),
    "red": ("RED", "R", "B2"),
    "nir": ("NIR", "N", "B3", "NEAR INFRARED", "NEAR-INFRARED"),
    "pan": ("PAN", "P"),
}


def dimap_file(path: Path) -> Path | None:
    """Return the metadata file of a DIMAP product, given its folder or that file; None when it is no such product."""
    if path.is_dir():
        return next((file for file in sorted(path.iterdir()) if _METADATA.match(file.name)), None)
    return path if _METADATA.match(path.name) else None


def open_dimap(path: Path, sensor: str | None, band_order: tuple[str, ...] | None = None) -> ScaledScene:
    """Open a product.

    Args:
        path: its folder or its metadata file.
        sensor: whose bands these are, for missions other than THEOS: a record with bands blue, green, red, nir.
        band_order: the channels' names in file order, where the metadata does not say.

    Raises:
        SceneError: the metadata lacks what reflectance needs, or its image cannot be read.
    """
    file = dimap_file(path)
    if file is None:
        raise SceneError(f"{path} holds no METADATA.DIM or DIM_*.XML; it is no DIMAP product.")
    product = Product(file.parent)
    root = product.xml(file.name)
    try:
        own_sensor = _sensor(root, sensor, file)
        channels = band_order or _channels(root, file)
        time, elevation = _time(root), _elevation(root, file)
        scaling, irradiance = _scaling(root, channels, time, elevation, file)
    except (ValueError, OverflowError, ZeroDivisionError) as cause:
        raise SceneError(f"{file} is damaged ({cause}); fetch the product again.") from cause
    image = product.gdal_path(_image(root, file))
    stack = ExitStack()
    try:
        raster = stack.enter_context(open_raster(image))
        if raster.count != len(channels):
            raise SceneError(f"{image} has {raster.count} channels where {file.name} names {len(channels)}.")
        bands: Bands = {name: (raster, image, index) for index, name in enumerate(channels, 1)}
        missing = [band.name for band in own_sensor.bands if band.slot and band.name not in bands]
        if missing:
            raise SceneError(
                f"{file} lacks the channel {missing[0]!r} of {own_sensor.name!r}; it has {', '.join(bands)}."
            )
        told = {"product": _text(root, "DATASET_NAME") or file.parent.name, "channels": list(channels)}
        told |= {"sun_degrees": {"elevation": elevation}, "solar_irradiance": irradiance}
        stated = Stated(None, "", time, told)
        full = 255 if raster.dtypes[0] == "uint8" else 65535
        return ScaledScene(file.parent.name, str(path), own_sensor, bands, stack, stated, scaling, saturated=full)
    except BaseException:
        stack.close()
        raise


def _sensor(root: Element, told: str | None, file: Path) -> Sensor:
    if told:
        return get_sensor(told)
    mission = re.sub(r"[\s-]", "", f"{_text(root, 'MISSION') or ''}{_text(root, 'MISSION_INDEX') or ''}".upper())
    if mission in ("THEOS", "THEOS1", "THEOS2"):
        return get_sensor("theos2" if mission == "THEOS2" else "theos1")
    raise SceneError(
        f"{file} is of the mission {mission or 'unknown'}; expected THEOS 1 or 2: pass a record of its sensor (bands"
        " blue, green, red, nir) with --sensor."
    )


def _channels(root: Element, file: Path) -> tuple[str, ...]:
    """Return the colours of the image's channels in file order."""
    shown = {
        (element.text or "").strip(): colour
        for colour, tag in (("red", "RED_CHANNEL"), ("green", "GREEN_CHANNEL"), ("blue", "BLUE_CHANNEL"))
        for element in root.iter(tag)
        if not (element.text or "").strip().isdigit()
    }
    rows = [
        (element.findtext("BAND_INDEX"), element.findtext("BAND_DESCRIPTION"))
        for element in root.iter("Spectral_Band_Info")
    ]
    rows = rows or [
        (element.findtext("BAND_INDEX"), element.findtext("BAND_ID")) for element in root.iter("Raster_Index")
    ]
    told = {int(index): name.strip() for index, name in rows if index and name}
    if not told or sorted(told) != list(range(1, len(told) + 1)):
        raise SceneError(f"{file} does not say which channel is which; name them in file order with --band-order.")
    return tuple(_colour(told[index], shown, file) for index in sorted(told))


def _colour(name: str, shown: dict[str, str], file: Path) -> str:
    if name in shown:
        return shown[name]
    for colour, names in _COLOURS.items():
        if name.upper() in names:
            return colour
    raise SceneError(f"{file} names a channel {name!r}, which is no known colour; name them all with --band-order.")


def _scaling(
    root: Element, channels: tuple[str, ...], time: datetime | None, elevation: float, file: Path
) -> tuple[Scaling, str]:
    """Return gain and offset from stored value to reflectance for every channel, and whose solar irradiance is used."""
    reflect = _by_channel(root, "Band_Reflectance", "GAIN", "BIAS", channels)
    if reflect:
        return {name: (1 / gain, bias) for name, (gain, bias) in reflect.items()}, "in the product's reflectance gains"
    light = _by_channel(root, "Band_Radiance", "GAIN", "BIAS", channels)
    light = light or _by_channel(root, "Spectral_Band_Info", "PHYSICAL_GAIN", "PHYSICAL_BIAS", channels)
    if set(light) != set(channels) or any(gain <= 0 for gain, _ in light.values()):
        raise SceneError(f"{file} does not state the gain of every channel, without which there is no reflectance.")
    if time is None:
        raise SceneError(f"{file} does not state when it was taken, without which there is no reflectance.")
    suns = _irradiance(root, channels)
    day = time.timetuple().tm_yday
    distance = 1 - 0.01672 * math.cos(math.radians(0.9856 * (day - 4)))
    factor = {
        name: math.pi * distance**2 / suns.get(name, _SUN.get(name, math.nan)) / math.sin(math.radians(elevation))
        for name in channels
    }
    scaling = {name: (factor[name] / gain, factor[name] * bias) for name, (gain, bias) in light.items()}
    return scaling, "the product's" if set(suns) >= set(channels) - {
        "pan"
    } else "Landsat 5 TM's, for the product states none"


def _irradiance(root: Element, channels: tuple[str, ...]) -> dict[str, float]:
    """Return what a product states; DIMAP 1 and 2 name it differently."""
    told: Scaling = {}
    for name in ("SOLAR_IRRADIANCE_VALUE", "VALUE"):
        told = told or _by_channel(root, "Band_Solar_Irradiance", name, "", channels)
    return {name: sun for name, (sun, _) in told.items() if sun > 0}


def _by_channel(root: Element, tag: str, gain: str, bias: str, channels: tuple[str, ...]) -> Scaling:
    """Return two numbers of every element of a tag, by colour; an element names its channel by index or by id."""
    by_channel = {}
    for element in root.iter(tag):
        index, name, value = element.findtext("BAND_INDEX"), element.findtext("BAND_ID"), element.findtext(gain)
        if index is not None:
            colour = dict(enumerate(channels, 1)).get(int(index))
        else:
            colour = next((c for c, names in _COLOURS.items() if (name or "").strip().upper() in names), None)
        if colour in channels and value is not None:
            by_channel[colour] = (float(value), float(element.findtext(bias) or 0.0) if bias else 0.0)
    return by_channel


def _image(root: Element, file: Path) -> str:
    hrefs = [element.get("href", "") for element in root.iter("DATA_FILE_PATH")]
    if len(hrefs) != 1:
        raise SceneError(
            f"{file} names {len(hrefs)} image files; expected one: join the tiles with gdalbuildvrt first."
        )
    if PurePosixPath(hrefs[0]).is_absolute() or ".." in PurePosixPath(hrefs[0]).parts:
        raise SceneError(f"{file} names an image {hrefs[0]!r} outside its folder; it is not opened.")
    return PurePosixPath(hrefs[0]).as_posix()


def _elevation(root: Element, file: Path) -> float:
    text = _text(root, "SUN_ELEVATION")
    if text is None or not 0 < float(text) <= 90:
        raise SceneError(f"{file} states a sun {text} degrees high; reflectance needs it above the horizon.")
    return float(text)


def _time(root: Element) -> datetime | None:
    day, time = _text(root, "IMAGING_DATE"), _text(root, "IMAGING_TIME") or "00:00:00"
    try:
        return datetime.fromisoformat(f"{day}T{time.strip().rstrip('Z')[:15]}").replace(tzinfo=UTC)
    except ValueError:
        return None


def _text(root: Element, tag: str) -> str | None:
    element = next(root.iter(tag), None)
    return element.text.strip() if element is not None and element.text else None
