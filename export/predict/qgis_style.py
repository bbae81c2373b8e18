"""A QGIS style beside a map: QGIS reads ``map.qml`` when it opens ``map.tif``, and shows the classes by their names."""

from xml.etree import ElementTree as xml

from bandloom.classes.label_set import LabelSet

# the oldest QGIS that this was tried in reads it; later ones read the styles of earlier ones
QGIS_VERSION = "3.22.0"
HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def style(labels: LabelSet) -> str:
    """Return a paletted style of band 1: a category a class, with its code, name and colour."""
    root = xml.Element("qgis", version=QGIS_VERSION, styleCategories="AllStyleCategories")
    pipe = xml.SubElement(root, "pipe")
    provider = xml.SubElement(pipe, "provider")
    xml.SubElement(
        provider,
        "resampling",
        enabled="false",
        zoomedInResamplingMethod="nearestNeighbour",
        zoomedOutResamplingMethod="nearestNeighbour",
        maxOversampling="2",
    )
    renderer = xml.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    xml.SubElement(renderer, "rasterTransparency")
    palette = xml.SubElement(renderer, "colorPalette")
    for land_class in labels.classes:
        xml.SubElement(
            palette,
            "paletteEntry",
            value=str(land_class.code),
            label=land_class.name,
            color=land_class.colour.lower(),
            alpha="255",
        )
    xml.SubElement(root, "blendMode").text = "0"
    xml.indent(root, " ")
    return HEAD + xml.tostring(root, encoding="unicode") + "\n"
