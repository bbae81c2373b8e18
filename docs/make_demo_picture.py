"""Draw the README's pictures from finished demo folders: ``python docs/make_demo_picture.py DEMO OUT.png``.

A demo of generated scenes shows its truth beside the map, one of ``--real`` its polygons.
"""

import sys
from pathlib import Path

import numpy as np
import rasterio
import yaml
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bandloom.classes.label_set import IGNORE_INDEX, LabelSet
from bandloom.classes.taxonomy import get_taxonomy


def main(demo: Path, out: Path) -> None:
    """Show true colour, short-wave infrared, the map and the truth side by side, with a legend."""
    scene = next((demo / "unseen" / "scenes").iterdir())
    labels = LabelSet.from_dict(yaml.safe_load((demo / "unseen" / "label_set.yaml").read_text()))
    truth = coloured(labels, band(demo / "unseen" / "labels" / f"{scene.name}.tif"))
    mapped = coloured(labels, band(demo / "map.tif"))
    true_colour = stretch(np.stack([band(scene / f"{b}.tif") for b in ("B04", "B03", "B02")], -1), 2500)
    infrared = stretch(np.stack([band(scene / f"{b}.tif") for b in ("B12", "B8A", "B05")], -1), 4500)
    figure = Figure(figsize=(13, 3.9), layout="constrained")
    titles = ("true colour", "short-wave infrared", "the map", "the truth")
    for axis, title, picture in zip(figure.subplots(1, 4), titles, (true_colour, infrared, mapped, truth), strict=True):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    patches = [Patch(color=land_class.colour, label=land_class.name) for land_class in labels.classes]
    figure.legend(handles=patches, loc="outside lower center", ncols=12, fontsize=8, frameon=False)
    figure.savefig(out, dpi=90)


def real(demo: Path, out: Path) -> None:
    """Show true colour, the polygons that were drawn and the map, side by side, with a legend."""
    scene = demo / "data" / "scene"
    labels = get_taxonomy(str(demo / "prepared" / "label_set.yaml")).label_set
    drawn = coloured(labels, band(next((demo / "prepared" / "labels").glob("*.tif"))))
    mapped = coloured(labels, band(demo / "map.tif"))
    bands = {path.stem[-3:]: path for path in scene.iterdir()}
    seen = stretch(np.stack([band(bands[name]) for name in ("B04", "B03", "B02")], -1) + 400, 1700)
    figure = Figure(figsize=(15, 3.1), layout="constrained")
    titles = ("true colour, 16 February 2017", "OpenStreetMap's polygons, of which three in five trained", "the map")
    for axis, title, picture in zip(figure.subplots(1, 3), titles, (seen, drawn, mapped), strict=True):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    patches = [Patch(color=land_class.colour, label=land_class.name) for land_class in labels.classes]
    figure.legend(handles=patches, loc="outside lower center", ncols=7, fontsize=9, frameon=False)
    figure.savefig(out, dpi=90)


def band(path: Path) -> np.ndarray:
    """Return the first band of a raster."""
    with rasterio.open(path) as raster:
        return raster.read(1)


def stretch(dn: np.ndarray, white: float) -> np.ndarray:
    """Return digital numbers as colours in 0..1."""
    return np.clip((dn.astype(np.float32) - 1000) / white, 0, 1)


def coloured(labels: LabelSet, codes: np.ndarray) -> np.ndarray:
    """Return label codes as colours, unknown ones white."""
    colours = np.full((256, 3), 255, np.uint8)
    colours[list(labels.codes)] = labels.rgb
    return colours[np.where(codes == IGNORE_INDEX, 255, codes)]


if __name__ == "__main__":
    draw = real if (Path(sys.argv[1]) / "data" / "scene").is_dir() else main
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
