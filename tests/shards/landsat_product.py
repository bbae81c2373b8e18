"""Landsat 8/9 Collection 2 products in the layout of USGS: band rasters, quality rasters, MTL."""

import json
import tarfile

import numpy as np
import rasterio
from rasterio.transform import from_origin

NAME = {"1": "LC08_L1TP_129050_20240110_20240122_02_T1", "2": "LC08_L2SP_129050_20240110_20240122_02_T1"}
ELEVATION = 48.5


def write_landsat(folder, level="1", collection="02", form="json"):
    """Write a product of 41 x 37 pixels; return its folder and what its bands store."""
    root, rng = folder / NAME[level], np.random.default_rng(7)
    root.mkdir()
    bands = range(1, 10) if level == "1" else range(1, 8)
    gain, offset = (2e-5, -0.1) if level == "1" else (2.75e-5, -0.2)
    contents = {
        "LANDSAT_PRODUCT_ID": NAME[level],
        "COLLECTION_NUMBER": collection,
        "PROCESSING_LEVEL": f"L{level}{'TP' if level == '1' else 'SP'}",
    }
    scale, stored = {}, {}
    for band in bands:
        file = f"{NAME[level]}_{'SR_' if level == '2' else ''}B{band}.TIF"
        stored[band] = rng.integers(7300, 30000, (37, 41), dtype=np.uint16)
        _raster(root / file, stored[band])
        contents[f"FILE_NAME_BAND_{band}"] = file
        scale |= {f"REFLECTANCE_MULT_BAND_{band}": str(gain), f"REFLECTANCE_ADD_BAND_{band}": str(offset)}
    quality = np.full((37, 41), 0b1000000, np.uint16)
    quality[0, 0], quality[1, 1], quality[2, 2] = 1, 0b1000, 0b10000  # fill, cloud, shadow
    radsat = np.zeros((37, 41), np.uint16)
    radsat[3, 3] = 1 << 3  # B4
    for key, kind, pixels in (
        ("FILE_NAME_QUALITY_L1_PIXEL", "QA_PIXEL", quality),
        ("FILE_NAME_QUALITY_L1_RADIOMETRIC_SATURATION", "QA_RADSAT", radsat),
    ):
        contents[key] = f"{NAME[level]}_{kind}.TIF"
        _raster(root / contents[key], pixels)
    image = {"DATE_ACQUIRED": "2024-01-10", "SCENE_CENTER_TIME": "03:27:39.1234560Z", "SUN_ELEVATION": str(ELEVATION)}
    sections = {"PRODUCT_CONTENTS": contents, "IMAGE_ATTRIBUTES": image, "LEVEL_SURFACE": scale}
    sections["LEVEL1_RECORD"] = {"REFLECTANCE_MULT_BAND_4": "9", "PROCESSING_LEVEL": "L1TP"}
    if form == "json":
        (root / f"{NAME[level]}_MTL.json").write_text(json.dumps({"LANDSAT_METADATA_FILE": sections}))
    elif form == "xml":
        parts = (f"<{s}>{''.join(f'<{k}>{v}</{k}>' for k, v in of.items())}</{s}>" for s, of in sections.items())
        text = f"<?xml version='1.0'?><LANDSAT_METADATA_FILE>{''.join(parts)}</LANDSAT_METADATA_FILE>"
        (root / f"{NAME[level]}_MTL.xml").write_text(text)
    else:
        lines = [f'    {k} = "{v}"' for section in sections.values() for k, v in section.items()]
        (root / f"{NAME[level]}_MTL.txt").write_text("GROUP = X\n" + "\n".join(lines) + "\nEND_GROUP = X\nEND\n")
    return root, stored


def tarred(root):
    """Return a tar of the product's files, as USGS delivers it."""
    path = root.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        for file in sorted(root.iterdir()):
            archive.add(file, file.name)
    return path


def _raster(path, pixels):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=37,
        width=41,
        count=1,
        dtype="uint16",
        crs="EPSG:32647",
        transform=from_origin(500_085, 1_800_015, 30, 30),
        compress="deflate",
        predictor=2,
        tiled=True,
        blockxsize=16,
        blockysize=16,
    ) as file:
        file.write(pixels, 1)
