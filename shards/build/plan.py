"""The plan of a build: options, sources, and units of work with fixed names and order."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from bandloom.classes.label_set import LabelSet
from bandloom.classes.taxonomy import Taxonomy, get_taxonomy
from bandloom.command_line.console import logger
from bandloom.command_line.options import Option
from bandloom.errors import BandloomError, LabelError, ShardError
from bandloom.sensors import get_sensor
from bandloom.shards.build.captions import read_captions
from bandloom.shards.build.cutting import check_side, count_cuts
from bandloom.shards.build.geography import SPLIT_RULES, SPLITS
from bandloom.shards.build.reader import SourceReader
from bandloom.shards.build.sources import Source, class_label_set, find_build_sources
from bandloom.shards.corpora.known import get_corpus
from bandloom.shards.labels.reading import LabelReading, Overlap
from bandloom.shards.scenes import Scene, SceneOptions, open_scene
from bandloom.shards.scenes.checksums import at_a_glance
from bandloom.shards.scenes.corrected import CorrectedScene
from bandloom.shards.scenes.options import Bands, Nodata, Offset, Scale, SensorName
from bandloom.shards.store.codec import CODECS, CodecName
from bandloom.target import parse_target

UNIT_SAMPLES = 256  # small scenes share a tar up to about this many samples
TAR_SAMPLES = 1024  # and a large one is spread over tars of at most this many


@dataclass(frozen=True)
class BuildOptions:
    """How scenes become samples; all of it is written into the manifest."""

    side_px: Annotated[int, Option("Side of a sample in pixels of 10 m, a multiple of 6.", "--side")] = 240
    sensor: SensorName = None
    band_order: Annotated[
        str | None, Option("Order of bands, where files do not say: l1c, l2a, eurosat, or names with commas.")
    ] = None
    offset: Offset = None
    labels: Annotated[str | None, Option("Labels: a folder of NAME.tif, a path with {name}, or one file.")] = None
    label_set: Annotated[str | None, Option("Label set: a shipped one by name, or your own YAML.")] = None
    class_folders: Annotated[bool, Option("Sources are SOURCE/CLASS/chip.tif.")] = False
    codec: Annotated[CodecName, Option("Compression of samples.")] = "default"
    min_valid: Annotated[float, Option("Leave out samples with this share of measured pixels, or less.")] = 0.0
    max_cloud: Annotated[float, Option("Leave out samples with a larger share of cloud.")] = 1.0
    split: Annotated[
        str | None,
        Option("All to train, val or test; published; geography; else published where there is one."),
    ] = None
    atmosphere: Annotated[str, Option("Dark-object subtraction for level 1: none, dos1 or cost.")] = "none"
    label_field: Annotated[str, Option("Attribute or column of labels that holds the class.")] = LabelReading.field
    captions: Annotated[str | None, Option("CSV of captions by key, scene, or lon and lat.")] = None
    label_layer: Annotated[str | None, Option("Layer of a GeoPackage of labels.")] = None
    label_encoding: Annotated[str | None, Option("Encoding of the labels' text, such as gbk.")] = None
    label_nodata: Annotated[str | None, Option("Value of label rasters without a label; or none.")] = None
    overlap: Annotated[Overlap, Option("Which of two label geometries counts where both lie.")] = LabelReading.overlap
    all_touched: Annotated[bool, Option("Label every pixel that a polygon touches.")] = False
    scale: Scale = None
    nodata: Nodata = None
    bands: Bands = None
    values: Annotated[str | None, Option("Rasters of a measured quantity, as labels lie, or a CSV of chips.")] = None
    quantity: Annotated[str | None, Option("What the values measure, its unit in brackets.")] = None
    corpus: Annotated[str | None, Option("Public corpus that the sources are; else recognised by its files.")] = None

    def check(self) -> None:
        """Raise a :class:`BandloomError` for an option that cannot be used."""
        try:
            check_side(self.side_px)
        except ValueError as cause:
            raise ShardError(f"--side {self.side_px}: {cause}; use 240, or another multiple of 6 (60 m).") from cause
        if self.sensor is not None:
            get_sensor(self.sensor)
        self.scene.check()
        if self.codec not in CODECS:
            raise ShardError(f"--codec {self.codec!r} is not known; use one of {', '.join(CODECS)}.")
        if self.split is not None and self.split not in (*SPLITS, *SPLIT_RULES):
            known = ", ".join((*SPLITS, *SPLIT_RULES))
            raise ShardError(f"--split {self.split!r} is not known; use one of {known}, or leave it out.")
        if self.corpus is not None:
            get_corpus(self.corpus)
        if self.labels is not None and self.label_set is None:
            raise LabelError("--labels needs --label-set: a shipped label set, or a YAML file that names their codes.")
        if (self.values is None) != (self.quantity is None):
            raise LabelError("--values and --quantity go together: the files, and what they measure ('height [m]').")
        if self.quantity is not None:
            parse_target(self.quantity)
        self.reading.check()
        if self.captions is not None:
            read_captions(Path(self.captions))

    @property
    def reading(self) -> LabelReading:
        """How the files of labels are read."""
        return LabelReading(
            self.label_field,
            self.label_layer,
            self.label_encoding,
            self.label_nodata,
            self.overlap,
            self.all_touched,
        )

    @property
    def scene(self) -> SceneOptions:
        """How a scene is read."""
        return SceneOptions(self.sensor, self.band_order, self.offset, self.scale, self.nodata, self.bands)

    def open(self, source: Source) -> Scene:
        """Open a source as these options say."""
        scene = open_scene(source.path, self.scene)
        if self.atmosphere == "none":
            return scene
        try:
            return CorrectedScene(scene, self.atmosphere)
        except BandloomError:
            scene.close()
            raise


@dataclass(frozen=True)
class Plan:
    """The whole build; the same sources and options give the same plan on every machine."""

    options: BuildOptions
    sources: tuple[Source, ...]
    units: tuple[tuple[int, ...], ...]  # indices into sources, one tuple a unit of work
    samples: tuple[int, ...]  # squares a source covers, before empty ones are left out; 0: it failed to open
    failures: dict[int, str]  # source index -> why it cannot be opened
    taxonomy: Taxonomy | None
    sample_bytes: int = 0  # raw pixels of the largest kind of sample
    reader: SourceReader | None = None  # opens the sources where they are samples of a published set
    published: str | None = None  # the published split that every sample's ``split`` follows

    @property
    def label_set(self) -> LabelSet | None:
        """The part of the label set that shards carry."""
        return self.taxonomy.label_set if self.taxonomy else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        record: dict[str, Any] = asdict(replace(self, reader=None))
        record["reader"] = self.reader.to_dict() if self.reader else None
        optional = [(record["options"], name) for name in ("values", "quantity", "corpus")]
        optional += [(record, name) for name in ("reader", "published")]
        optional += [(source, "published") for source in record["sources"]]
        for part, name in optional:  # a build without them is what it was before there were any
            if part[name] is None:
                del part[name]
        for source in record["sources"]:
            if source["corpus"] is None:
                for name in ("corpus", "inner", "expected"):
                    del source[name]
        record["label_set"] = self.label_set.to_dict() if self.label_set else None
        record["failures"] = {str(index): reason for index, reason in self.failures.items()}
        return record

    def open(self, source: Source) -> Scene:
        """Open a source by the plan's reader, or as a scene."""
        return self.reader.open(source) if self.reader else self.options.open(source)

    @property
    def digest(self) -> str:
        """A fingerprint of what is built from what, to tell whether a half-done build is this one."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def make_plan(paths: Sequence[str], options: BuildOptions, *, thorough: bool = False) -> Plan:
    """Open every source once and group them into units of work.

    Args:
        paths: scenes, or folders of scenes.
        options: how scenes become samples.
        thorough: also verify checksums and look at pixels, as the build itself does when it comes to a source.

    Raises:
        BandloomError: an option cannot be used, or not one source can be opened (the first reason is given).
    """
    options.check()
    labelled = options.label_set is not None or options.values is not None
    sources = find_build_sources(paths, options.class_folders, options.sensor, options.corpus, labelled)
    options = _with_own_side(options, sources)
    taxonomy = get_taxonomy(options.label_set) if options.label_set else None
    if options.class_folders:
        taxonomy = taxonomy or Taxonomy.of_label_set(class_label_set(sources))
    samples, failures, first, largest = [], {}, None, 0
    names = {source.key for source in sources}
    for index, source in enumerate(sources):
        if source.expected is not None:  # a container is not opened before its turn
            samples.append(source.expected)
            continue
        try:
            if taxonomy and source.class_name is not None:
                class_of(source, taxonomy)
            with contextlib.nullcontext() if thorough else at_a_glance(), options.open(source) as scene:
                names.add(scene.name)
                rows, columns = count_cuts(scene, options.side_px * 10)
                largest = max(largest, _sample_bytes(scene, options.side_px * 10))
            samples.append(rows * columns)
        except BandloomError as error:
            first = first or error
            failures[index] = str(error)
            samples.append(0)
    if first is not None and len(failures) == len(sources):
        raise first
    if options.captions and not any(source.corpus for source in sources):
        read_captions(Path(options.captions)).check(names)
    return Plan(options, tuple(sources), group_units(samples), tuple(samples), failures, taxonomy, largest)


def _with_own_side(options: BuildOptions, sources: Sequence[Source]) -> BuildOptions:
    """Return the options with the side of a corpus's own patches, where the user states no other than the default."""
    sides = {get_corpus(source.corpus).side_px for source in sources if source.corpus}
    if not sides or options.side_px != BuildOptions.side_px:
        return options
    side_px = max(sides)
    logger.info("samples of %d px, the side that this corpus's patches need; --side sets another", side_px)
    return replace(options, side_px=side_px)


def class_of(source: Source, taxonomy: Taxonomy) -> int:
    """Return the index of the class that a chip's folder is named after.

    Raises:
        LabelError: it is in no class folder, or that is no class.
    """
    names = taxonomy.label_set.names
    return names.index(source.class_name) if source.class_name in names else taxonomy.find(source.class_name or "")


def _sample_bytes(scene: Scene, side_m: int) -> int:
    return sum(2 * len(group.bands) * (side_m // group.gsd_m) ** 2 for group in scene.sensor.groups)


def group_units(samples: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Put neighbouring sources together until a unit holds about :data:`UNIT_SAMPLES`."""
    units: list[tuple[int, ...]] = []
    open_unit: list[int] = []
    total = 0
    for index, count in enumerate(samples):
        if open_unit and total + count > UNIT_SAMPLES:
            units.append(tuple(open_unit))
            open_unit, total = [], 0
        open_unit.append(index)
        total += count
    return (*units, tuple(open_unit)) if open_unit else tuple(units)
