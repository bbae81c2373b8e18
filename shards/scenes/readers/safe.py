"""Sentinel-2 products in SAFE form, folder or zip, L1C and L2A, of any processing baseline.

Offset and quantification come from the metadata alone, never from a date: a list of offsets that is absent means 0
before baseline 04.00, and is refused from then on, where every product has one. Checksums of
manifest.safe are verified, because a damaged JP2 decodes to wrong pixels without a word.
"""

import re
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from bandloom.errors import SceneError
from bandloom.rasters.values import SCALE
from bandloom.sensors import Sensor, get_sensor
from bandloom.shards.scenes.cloud import CloudLayer, RasterCloud, scl_cloud
from bandloom.shards.scenes.grid import open_raster
from bandloom.shards.scenes.raster import Bands
from bandloom.shards.scenes.readers.marked import Marked, l1c_cloud, l1c_cloud_file, quality_files, quality_of
from bandloom.shards.scenes.readers.product import Product, is_zip, names_inside
from bandloom.shards.scenes.readers.quality import Quality
from bandloom.shards.scenes.remote_file import address_of
from bandloom.shards.scenes.stated import Stated, whole_offset

_METADATA = re.compile(r"(?:^|/)MTD_MSIL(1C|2A)\.xml$")
_IMAGE = re.compile(r"_(B\d\d|B8A)(?:_(\d\d)m)?\.(?:jp2|tif)$")
_ADDS_1000 = re.compile(r"(0[4-9]|[1-8]\d)\.\d\d")  # baselines; 99.99 is a user's own processing
_MASK = re.compile(r"/(MSK_(CLASSI|CLOUDS|QUALIT|TECQUA|NODATA|SATURA)_B\w\w\.(jp2|gml)|\w+_SCL_20m\.jp2)$")


def is_safe(path: Path) -> bool:
    """Tell whether a path is a Sentinel-2 product: by its name, or whatever its name by the metadata that lies inside.

    A folder, a zip wherever it lies, or the path of the product's own metadata file.
    """
    path = Path(address_of(path))
    if path.suffix == ".SAFE" and path.is_dir():
        return True
    if is_zip(path) and re.match(r"S2._MSIL(1C|2A)_", path.name) is not None:
        return True
    if path.is_file() and (_METADATA.search(path.name) or path.name == "manifest.safe"):
        return True
    return (path.is_dir() or is_zip(path)) and any(_METADATA.search(name) for name in names_inside(path))


def _home(path: str | Path) -> str | Path:
    """Return a product's own place, given it or the path of its metadata file."""
    named = Path(address_of(path)).name
    return Path(path).parent if _METADATA.search(named) or named == "manifest.safe" else path


class SafeScene(Marked):
    """A Sentinel-2 product: its bands, each marked by what the product says of its quality."""

    def __init__(
        self,
        name: str,
        path: str,
        sensor: Sensor,
        bands: Bands,
        stack: ExitStack,
        cloud: CloudLayer | None,
        stated: Stated,
        quality: dict[str, Quality],
    ) -> None:
        """Take the open rasters of every band, all closed by ``stack``, and what marks some of the bands."""
        super().__init__(name, path, sensor, bands, stack, None, cloud, stated)
        self.mark_by(quality)


def open_safe(path: str | Path) -> SafeScene:
    """Open a product: a folder, a zip, or a zip behind an address. All files in use are read whole, to verify them.

    Raises:
        SceneError: a band is missing or damaged, or the metadata is not a Sentinel-2 product's.
    """
    path = _home(path)
    product = Product(path)
    metadata = next((name for name in product.names if _METADATA.search(name)), None)
    if metadata is None:
        raise SceneError(f"{path} holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml; it is no Sentinel-2 L1C or L2A product.")
    level = "l1c" if "MSIL1C" in metadata else "l2a"
    sensor = get_sensor(f"sentinel2-{level}")
    images = _images(product, sensor)
    paths = {band: product.gdal_path(name) for band, name in images.items()}
    masks = [name for band in images for name in quality_files(product, band)]
    told = [name for name in (metadata, product.find("MTD_TL.xml"), _cloud_file(product, level)) if name]
    checked = _verify(product, list(images.values()), [*told, *masks])
    stack = ExitStack()
    try:
        stated = _stated(product, product.xml(metadata), checked)
        bands = {name: (stack.enter_context(open_raster(file)), file, 1) for name, file in paths.items()}
        cloud = _cloud(product, level, stack)
        quality = quality_of(product, images, stack)
        return SafeScene(product.path.name.partition(".")[0], str(path), sensor, bands, stack, cloud, stated, quality)
    except (ValueError, OverflowError) as cause:
        stack.close()
        raise SceneError(f"the metadata of {path} is damaged ({cause}); fetch the product again.") from cause
    except BaseException:
        stack.close()
        raise


def _stated(product: Product, root: Element, checked: int) -> Stated:
    """Return what the product's metadata says of it."""
    provenance: dict[str, Any] = {
        "product": _text(root, "PRODUCT_URI") or product.path.name,
        "processing_baseline": _text(root, "PROCESSING_BASELINE"),
        "verified_files": checked,
        "wavelengths_nm": _wavelengths(root),
        "sun_degrees": _sun(product),
    }
    time = _text(root, "DATATAKE_SENSING_START") or _text(root, "PRODUCT_START_TIME") or _time_in(product.path.name)
    return Stated(_offset(root, product.path), "the product's metadata", _time(time), provenance)


def _images(product: Product, sensor: Sensor) -> dict[str, str]:
    """Return the file of every band at its own sampling."""
    images: dict[str, str] = {}
    for name in product.names:
        match = _IMAGE.search(name)
        if match is None or "/IMG_DATA/" not in name:
            continue
        band = next((band for band in sensor.bands if band.name == match.group(1)), None)
        if band and match.group(2) in (None, f"{band.stored_gsd_m}"):
            if band.name in images:
                raise SceneError(f"{product.path} holds band {band.name} twice; it has several granules: split it.")
            images[band.name] = name
    missing = [band.name for band in sensor.bands if band.name not in images]
    if missing:
        raise SceneError(f"{product.path} lacks the image of {', '.join(missing)}; fetch the product again.")
    return images


def _verify(product: Product, images: list[str], told: list[str]) -> int:
    """Check the files in use against manifest.safe; return how many images it vouches for.

    Raises:
        SceneError: a file is not what the manifest says, or it lists some of the images but not all, or an absent mask.
    """
    listed, there = _listed(product), set(product.names)
    lost = next((name for name in sorted(listed) if _MASK.search(name) and name not in there), None)
    if lost is not None:
        raise SceneError(f"{product.path} lacks {lost}, which manifest.safe lists; fetch the product again.")
    for name in (*told, *images):
        if name in listed:
            product.check(name, *listed[name])
    missing = [name for name in images if name not in listed]
    if missing and len(missing) < len(images):
        raise SceneError(
            f"{product.path}: manifest.safe does not list {missing[0]}, so nothing tells whether it is whole; fetch the"
            " product again."
        )
    return len(images) - len(missing)


def _listed(product: Product) -> dict[str, tuple[str, str]]:
    """Return the algorithm and checksum of every file that manifest.safe lists; empty when there is no manifest."""
    manifest = product.find("manifest.safe")
    if manifest is None:
        return {}
    base, listed = PurePosixPath(manifest).parent, {}
    for stream in product.xml(manifest).iter("byteStream"):
        place, checksum = stream.find("fileLocation"), stream.find("checksum")
        if place is not None and checksum is not None:
            name = (base / place.get("href", "")).as_posix()
            listed[name] = (checksum.get("checksumName", "MD5"), checksum.text or "")
    return listed


def _offset(root: Element, path: Path) -> int:
    """Return the radiometric offset that the metadata states for all bands; an absent list means 0.

    Raises:
        SceneError: bands state different ones, or none where every product of the baseline, as ESA made it, has one.
    """
    quantification = _text(root, "QUANTIFICATION_VALUE") or _text(root, "BOA_QUANTIFICATION_VALUE")
    if quantification is None or float(quantification) != SCALE:
        raise SceneError(f"{path} states the quantification {quantification}; expected {SCALE}.")
    texts = [element.text or "" for tag in ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET") for element in root.iter(tag)]
    try:
        offsets = {whole_offset(text) for text in texts}
    except ValueError as cause:
        raise SceneError(
            f"{path} states an offset of {cause}; expected a whole number: fetch the product again."
        ) from None
    if len(offsets) > 1:
        raise SceneError(f"{path} states different offsets a band ({sorted(offsets)}); expected one for all.")
    offset = offsets.pop() if offsets else 0
    baseline = _text(root, "PROCESSING_BASELINE") or ""
    if offset == 0 and _ADDS_1000.fullmatch(baseline.strip()):
        raise SceneError(
            f"{path} states no radiometric offset, but products of its baseline {baseline} carry +1000: its metadata"
            " was changed; fetch the product again."
        )
    return offset


def _wavelengths(root: Element) -> dict[str, float]:
    wavelengths = {}
    for element in root.iter("Spectral_Information"):
        band, centre = element.get("physicalBand", "")[1:], element.find("Wavelength/CENTRAL")
        if centre is not None and band:
            wavelengths[f"B{band}" if band == "8A" else f"B{int(band):02d}"] = float(centre.text or 0)
    return wavelengths


def _sun(product: Product) -> dict[str, float]:
    name = product.find("MTD_TL.xml")
    mean = next(product.xml(name).iter("Mean_Sun_Angle"), None) if name else None
    if mean is None:
        return {}
    return {angle: float(mean.findtext(f"{angle.upper()}_ANGLE", "nan")) for angle in ("zenith", "azimuth")}


def _cloud_file(product: Product, level: str) -> str | None:
    """Return the product's cloud mask: SCL on L2A; on L1C the raster of baseline 04.00, or the polygons before it."""
    if level == "l2a":
        return product.find("_SCL_20m.jp2")
    return l1c_cloud_file(product)


def _cloud(product: Product, level: str, stack: ExitStack) -> CloudLayer | None:
    if level == "l1c":
        return l1c_cloud(product, stack)
    name = _cloud_file(product, level)
    if name is None:
        return None
    path = product.gdal_path(name)
    return RasterCloud(stack.enter_context(open_raster(path)), path, scl_cloud)


def _text(root: Element, tag: str) -> str | None:
    element = next(root.iter(tag), None)
    return element.text if element is not None else None


def _time_in(name: str) -> str | None:
    match = re.search(r"_(\d{8}T\d{6})_", name)
    return match.group(1) if match else None


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
