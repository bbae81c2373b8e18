"""Sentinel-2 L1C products in the real layout: JP2 images, metadata, masks, and a manifest that vouches for all."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from bandloom.sensors import get_sensor

NAME = "S2A_MSIL1C_20230605T103021_N0509_R108_T32UPU_20230605T140000"
GRANULE = "GRANULE/L1C_T32UPU_A041530_20230605T103021"
CORNER = (600_000.0, 5_400_000.0)


def native_bands(side_m=1020, seed=5):
    """Return ``{band: (H, W) uint16}`` of noise with the offset in."""
    rng = np.random.default_rng(seed)
    return {
        band.name: rng.integers(1010, 4000, (side_m // band.stored_gsd_m,) * 2, dtype=np.uint16)
        for band in get_sensor("sentinel2-l1c").bands
    }


def write_jp2(path, pixels, gsd_m, block_px=64):
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = pixels if pixels.ndim == 3 else pixels[None]
    count, height, width = layers.shape
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        height=height,
        width=width,
        count=count,
        dtype=layers.dtype,
        crs="EPSG:32632",
        transform=from_origin(*CORNER, gsd_m, gsd_m),
        QUALITY="100",
        REVERSIBLE="YES",
        BLOCKXSIZE=str(block_px),
        BLOCKYSIZE=str(block_px),
    ) as raster:
        raster.write(layers)


def write_safe(folder, native, offset=-1000, baseline="05.09", clouds="raster", name=NAME, blocks_px=None):
    """Write an L1C product into ``folder``; baseline 05.09 with offsets, or an old one with neither.

    ``blocks_px`` are the JP2 tiles by sampling, ``{gsd_m: pixels}``; ESA's are 1024, 640 and 192.
    """
    blocks_px = blocks_px or {10: 64, 20: 64, 60: 64}
    root = Path(folder) / f"{name}.SAFE"
    side_m = 10 * len(native["B02"])
    for band, pixels in native.items():
        values = pixels if offset else pixels - 1000
        gsd_m = side_m // len(pixels)
        write_jp2(root / GRANULE / f"IMG_DATA/T32UPU_20230605T103021_{band}.jp2", values, gsd_m, blocks_px[gsd_m])
    if clouds == "raster":
        layers = np.zeros((3, side_m // 60, side_m // 60), np.uint8)
        layers[0, :2, :2] = layers[2, 5:, 5:] = 1
        write_jp2(root / GRANULE / "QI_DATA/MSK_CLASSI_B00.jp2", layers, 60)
    else:
        write_gml(root, "MSK_CLOUDS_B00", [("OPAQUE", [square(0, 0, 120)])])
    offsets = "".join(f'<RADIO_ADD_OFFSET band_id="{k}">{offset}</RADIO_ADD_OFFSET>' for k in range(13))
    listed = f"<Radiometric_Offset_List>{offsets}</Radiometric_Offset_List>" if offset else ""
    (root / "MTD_MSIL1C.xml").write_text(
        f"<P><PRODUCT_URI>{name}.SAFE</PRODUCT_URI><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>"
        "<DATATAKE_SENSING_START>2023-06-05T10:30:21.024Z</DATATAKE_SENSING_START>"
        f'<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>{listed}'
        '<Spectral_Information bandId="8" physicalBand="B8A"><Wavelength><CENTRAL unit="nm">864.8</CENTRAL>'
        "</Wavelength></Spectral_Information></P>"
    )
    (root / GRANULE / "MTD_TL.xml").write_text(
        "<T><Mean_Sun_Angle><ZENITH_ANGLE>30.5</ZENITH_ANGLE><AZIMUTH_ANGLE>150</AZIMUTH_ANGLE></Mean_Sun_Angle></T>"
    )
    seal(root)
    return root


def write_gml(root, name, features):
    """Write a mask of baselines before 04.00: a type and its rings a feature, the outer one first, then its holes."""
    rows = "".join(
        f'<eop:MaskFeature gml:id="{kind}.{k}"><eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">{kind}</eop:maskType>'
        f'<eop:extentOf><gml:Polygon gml:id="{kind}.{k}_Polygon">'
        + "".join(
            f'<gml:{side}><gml:LinearRing><gml:posList srsDimension="2">{ring}</gml:posList></gml:LinearRing>'
            f"</gml:{side}>"
            for side, ring in zip(["exterior"] + ["interior"] * (len(rings) - 1), rings, strict=True)
        )
        + "</gml:Polygon></eop:extentOf></eop:MaskFeature>"
        for k, (kind, rings) in enumerate(features)
    )
    path = root / GRANULE / f"QI_DATA/{name}.gml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0"'
        f' xmlns:gml="http://www.opengis.net/gml/3.2"><eop:maskMembers>{rows}</eop:maskMembers></eop:Mask>'
    )


def square(left_m, top_m, side_m):
    """Return the ring of a square, given in metres from the product's upper-left corner."""
    x, y = CORNER[0] + left_m, CORNER[1] - top_m
    corners = ((0, 0), (side_m, 0), (side_m, side_m), (0, side_m), (0, 0))
    return " ".join(f"{x + i} {y - j}" for i, j in corners)


def write_quality(root, band, shape, gsd_m, marks=(), block_px=64):
    """Write a band's mask of baseline 04.00 and later: eight layers, of which ``(layer, row, column)`` are set."""
    layers = np.zeros((8, *shape), np.uint8)
    for layer, row, column in marks:
        layers[layer - 1, row, column] = 1
    write_jp2(root / GRANULE / f"QI_DATA/MSK_QUALIT_{band}.jp2", layers, gsd_m, block_px)


def seal(root):
    """Write manifest.safe over every file, as real products list theirs (metadata and masks included)."""
    rows = "".join(
        f'<byteStream><fileLocation href="./{p.relative_to(root).as_posix()}"/>'
        f'<checksum checksumName="MD5">{hashlib.md5(p.read_bytes()).hexdigest()}</checksum></byteStream>'
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.name != "manifest.safe"
    )
    (root / "manifest.safe").write_text(f"<x>{rows}</x>")


def zipped(root):
    """Return a zip of the product, with the product's folder inside, as it is delivered."""
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root.parent))
    return path
