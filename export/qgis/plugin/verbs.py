"""The algorithms as records: the verb that each types, and the option that each of its parameters fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One parameter of an algorithm.

    Args:
        name: as scripts call it, such as ``MAP``.
        kind: what it is, a key of ``parameters.MAKERS``; kinds that begin with ``new`` are outputs.
        title: its label in the dialog.
        flag: the option that it fills; empty for an argument.
        default: what the dialog shows at first, which is the command's own default.
        optional: it may be left empty.
    """

    name: str
    kind: str
    title: str
    flag: str = ""
    default: Any = None
    optional: bool = False


@dataclass(frozen=True)
class Verb:
    """One algorithm.

    Args:
        name: as scripts call it after ``bandloom:``.
        words: what is typed after ``bandloom``.
        title: its name in the toolbox.
        help: what it does, for the dialog.
        parameters: in the order in which the command takes its arguments.
    """

    name: str
    words: tuple[str, ...]
    title: str
    help: str
    parameters: tuple[Parameter, ...]


BUNDLE = Parameter("BUNDLE", "folder", "Bundle to map with (a folder)")
MAP = Parameter("MAP", "map", "Map of classes")

PREDICT = Verb(
    "predict",
    ("predict",),
    "Map a scene",
    "Maps a scene with a bundle. A scene is a .tif, a .zip, the metadata file of a Sentinel-2 product, or a folder,"
    " whose path is typed. A new map is written; a file that is there already is never overwritten.",
    (
        BUNDLE,
        Parameter("SCENE", "path", "Scene"),
        Parameter("EXTENT", "box", "Map this extent alone", "--bbox", optional=True),
        Parameter("CONFIDENCE", "switch", "Also write the confidence, in percent", "--confidence", False),
        Parameter("THREADS", "count", "Threads of the engine (0: its own choice)", "--threads", 0),
        Parameter("OUT", "new map", "Map", "--out"),
        Parameter("POLYGONS", "new features", "Polygons of the map", "--polygons", optional=True),
    ),
)

PLACE = Verb(
    "map",
    ("map",),
    "Map an extent and a time",
    "Searches a STAC catalogue for the least cloudy scene, fetches it, maps the extent, and writes maps, polygons, a"
    " table of areas and a page into a folder. With the same folder it goes on where it was stopped.",
    (
        Parameter("EXTENT", "box", "Extent to map", "--bbox"),
        Parameter("DATE", "text", "First and last day, 2024-06-01/2024-06-30", "--date"),
        Parameter("BUNDLE", "folder", "Bundle to map with (a folder)", "--bundle"),
        Parameter("API", "text", "STAC API, or a catalog.json", "--api", "https://earth-search.aws.element84.com/v1"),
        Parameter("COLLECTION", "text", "Its collection (empty: by the sensor)", "--collection", optional=True),
        Parameter("MAX_CLOUD", "number", "Leave out scenes with more cloud, in percent", "--max-cloud", 100.0),
        Parameter("OUT", "new folder", "Folder of all results", "--out"),
    ),
)

POLYGONS = Verb(
    "polygons",
    ("polygons",),
    "Polygons of a map",
    "Writes a map as polygons with class, hectares and confidence, whose common borders stay common.",
    (
        MAP,
        Parameter("LEAST_HA", "number", "Smaller patches take the class around them, in hectares", "--least-ha", 0.25),
        Parameter("SMOOTH", "number", "Corners smaller than this are cut off, in pixels", "--smooth", 1.0),
        Parameter("OUT", "new features", "Polygons", "--out"),
    ),
)

SAMPLE = Verb(
    "assess_sample",
    ("assess", "sample"),
    "Draw points to assess a map",
    "Draws a stratified random sample of a map's pixels. Fill in the column class of the points without looking at the"
    " map, then score the map with them.",
    (
        MAP,
        Parameter("PER_CLASS", "count", "Points of every class (empty: 50)", "--per-class", optional=True),
        Parameter("TOTAL", "count", "Points in all, in proportion to the classes", "--total", optional=True),
        Parameter("SEED", "count", "Seed of the draw", "--seed", 0),
        Parameter("BEFORE", "map", "An earlier map: classes are what became what", "--before", optional=True),
        Parameter("OUT", "new points", "Points", "--out"),
    ),
)

SCORE = Verb(
    "assess_score",
    ("assess", "score"),
    "Score a map with labelled points",
    "Estimates the error matrix, accuracies, and the hectares of every class, each with its 95 % interval. The text for"
    " a methods section is in the log and in the JSON file.",
    (
        MAP,
        Parameter("POINTS", "features", "Points with a class each"),
        Parameter("BEFORE", "map", "An earlier map, if the points were drawn with one", "--before", optional=True),
        Parameter("TABLE", "new table", "Hectares and accuracies of each class", "--table", optional=True),
        Parameter("OUT", "new json", "All figures", "--out", optional=True),
    ),
)

ZONES = Verb(
    "zones",
    ("zones",),
    "Hectares by zone",
    "Adds up hectares and shares of a map's classes in each zone. These are the map's own areas, without errors.",
    (
        MAP,
        Parameter("ZONES", "features", "Zones"),
        Parameter("NAME", "field of ZONES", "Column that names a zone", "--name", optional=True),
        Parameter("OUT", "new features", "Zones with areas", "--out"),
    ),
)

VERBS = (PREDICT, PLACE, POLYGONS, SAMPLE, SCORE, ZONES)


def words_of(verb: Verb, values: Mapping[str, Any]) -> list[str]:
    """Return what is typed after ``bandloom``.

    Args:
        verb: the algorithm.
        values: by parameter: a word, a number, a list of words that are typed one after the other, True for a switch
            that is on; None, False or an empty text are left out.
    """
    words = list(verb.words)
    for parameter in verb.parameters:
        value = values.get(parameter.name)
        if value is None or value is False or value == "":
            continue
        if parameter.flag:
            words.append(parameter.flag)
        if value is not True:
            words.extend(map(str, value) if isinstance(value, (list, tuple)) else [str(value)])
    return words
