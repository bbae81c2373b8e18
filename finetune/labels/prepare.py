"""``bandloom labels prepare``: from a user's labels to what ``bandloom shards build`` takes, all or nothing."""

import itertools
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import yaml

from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import CheckpointError, LabelError
from bandloom.files.output import HIDDEN_NAME, LONGEST_NAME, new_output, one_writer, write_json
from bandloom.finetune.labels.bigearthnet import from_bigearthnet
from bandloom.finetune.labels.chips import Chip, check_chips, from_folders, from_table
from bandloom.rasters.values import dn_to_reflectance, valid
from bandloom.shards.build.plan import BuildOptions
from bandloom.shards.labels.open_labels import open_labels
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, LabelReading
from bandloom.shards.labels.vector_file import VECTOR_SUFFIXES
from bandloom.shards.scenes import ALIGN_M, SceneOptions, open_scene

Form = Literal["folders", "table", "bigearthnet", "mask", "polygons", "points"]
CHIP_FORMS = ("folders", "table", "bigearthnet")
DARKEST, BRIGHTEST = -0.08, 2.0  # median reflectance over all bands that a scene can have
OPENED = 200  # chips whose pixels are looked at


@dataclass(frozen=True)
class Request:
    """What to prepare.

    Args:
        form: what the labels are.
        source: chips' folder or table, or the scene that mask, polygons or points belong to.
        taxonomy: the classes.
        labels: the mask, polygons or points, or BigEarthNet's metadata.parquet; None for other chips.
        reading: attribute, layer, encoding, nodata, overlap, all touched.
        sensor: as for ``bandloom shards build``.
        band_order: likewise.
        offset: likewise.
        several: keep all classes of a BigEarthNet patch, for task multilabel.
        scale: as for ``bandloom shards build``.
        nodata: likewise, of the scene.
        bands: likewise.
    """

    form: Form
    source: Path
    taxonomy: Taxonomy
    labels: Path | None = None
    reading: LabelReading = field(default_factory=LabelReading)
    sensor: str | None = None
    band_order: str | None = None
    offset: int | None = None
    several: bool = False
    scale: str | None = None
    nodata: str | None = None
    bands: str | None = None

    def open(self, path: Path) -> Any:
        """Open a scene or chip as the request says."""
        told = SceneOptions(self.sensor, self.band_order, self.offset, self.scale, self.nodata, self.bands)
        return open_scene(path, told)


@dataclass(frozen=True)
class Prepared:
    """What was read: chips, or one scene's codes; and everything that is wrong."""

    problems: Problems
    chips: tuple[Chip, ...] = ()
    codes: np.ndarray | None = None
    ground: Ground | None = None
    name: str = ""
    unlabelled_px: dict[str, int] = field(default_factory=dict)  # by the reason
    side_px: int | None = None  # the smallest side of a sample that holds a chip whole


def examine(request: Request, checkpoint_slots: frozenset[str] | None = None) -> Prepared:
    """Read everything, write nothing, and gather every problem.

    Args:
        request: what to read.
        checkpoint_slots: bands that a checkpoint knows, to be checked against the pixels'.
    """
    problems = Problems()
    if request.form in CHIP_FORMS:
        chips: list[Chip] = []
        with problems.gather(str(request.source)):
            chips = _chips(request, problems)
            check_chips(chips, request.taxonomy, problems)
        longest_m = 0.0
        for chip in chips[:: max(1, len(chips) // OPENED)]:
            with problems.gather(str(chip.path)), request.open(chip.path) as scene:
                _check_pixels(scene, str(chip.path), checkpoint_slots, problems)
                longest_m = max(longest_m, scene.width_m, scene.height_m)
        return Prepared(problems, tuple(chips), side_px=math.ceil(longest_m / ALIGN_M) * ALIGN_M // 10 or None)
    with problems.gather(str(request.source)), request.open(request.source) as scene:
        _check_pixels(scene, str(request.source), checkpoint_slots, problems)
        ground = Ground.of(scene)
        with problems.gather(str(request.labels or request.source)):
            codes, unlabelled = _codes(request, ground, problems)
            return Prepared(problems, (), codes, ground, scene.name, unlabelled)
    return Prepared(problems)


@one_writer
def prepare(request: Request, out: Path) -> dict[str, Any]:
    """Write labels in the form that shards are built from, and return the manifest.

    Chips become OUT/chips/CLASS/..., a scene OUT/scenes/NAME and OUT/labels/NAME.tif; pixels are linked, not copied.

    Raises:
        LabelError: anything is wrong; nothing was written then.
        OutputError: ``out`` exists or cannot be written.
    """
    prepared = examine(request)
    prepared.problems.raise_first()
    with new_output(out, folder=True) as folder:
        record = request.taxonomy.to_dict()  # with ids and synonyms: the next command finds the same classes
        (folder / "label_set.yaml").write_text(yaml.safe_dump(record, sort_keys=False, allow_unicode=True), "utf-8")
        if request.several:
            counts = _link_patches(folder, prepared.chips, request.taxonomy)
        elif prepared.codes is None:
            counts = _link_chips(folder, prepared.chips, request.taxonomy)
        else:
            counts = _write_scene(folder, request, prepared)
        manifest = {
            "schema": 1,
            "form": request.form,
            "source": str(request.source.resolve()),
            "label_set": request.taxonomy.label_set.name,
            "counts": counts,
            "unlabelled_px": prepared.unlabelled_px,
            "side_px": prepared.side_px,
            "warnings": prepared.problems.to_dict()["problems"],
        }
        write_json(folder / "manifest.json", manifest)
    return manifest


def build_command(request: Request, out: Path, side_px: int | None = None) -> str:
    """Return the command that makes shards of what was prepared; samples as small as chips are not mostly padding."""
    chips = request.form in CHIP_FORMS
    where = f"{out}/chips --class-folders" if chips else f"{out}/scenes --labels {out}/labels"
    where = f"{out}/scenes" if request.several else where
    side = side_px if side_px and side_px < BuildOptions.side_px else None
    given = {"sensor": request.sensor, "band-order": request.band_order, "offset": request.offset, "side": side}
    given |= {"scale": request.scale, "nodata": request.nodata, "bands": request.bands}
    options = "".join(f" --{name} {value}" for name, value in given.items() if value is not None)
    return f"bandloom shards build {where} --label-set {out}/label_set.yaml{options} --out SHARDS"


def slots_of_checkpoint(folder: Path) -> frozenset[str]:
    """Return the bands that a checkpoint has statistics for, without loading it.

    Raises:
        CheckpointError: it is no checkpoint.
    """
    import json

    path = folder / "checkpoint" / "config.json" if (folder / "checkpoint").is_dir() else folder / "config.json"
    try:
        return frozenset(json.loads(path.read_text())["statistics"]["mean"])
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise CheckpointError(f"{folder} is no checkpoint ({cause!r}); pass RUN or RUN/checkpoint.") from cause


def _chips(request: Request, problems: Problems) -> list[Chip]:
    if request.form == "bigearthnet":
        return from_bigearthnet(
            request.source, request.taxonomy, problems, several=request.several, metadata=request.labels
        )
    if request.labels is not None:
        raise LabelError(f"--form {request.form} takes its classes from {request.source}; leave out --labels.")
    if request.form == "folders":
        return from_folders(request.source, request.taxonomy, problems)
    return from_table(request.source, request.taxonomy, problems, request.reading.encoding)


def _codes(request: Request, ground: Ground, problems: Problems) -> tuple[np.ndarray, dict[str, int]]:
    """Return the raster codes of a scene's pixels, and how many have none, by the reason."""
    path, label_set = request.labels, request.taxonomy.label_set
    if path is None:
        raise LabelError(f"--form {request.form} needs --labels, the file with the {request.form}.")
    if (request.form == "mask") == (path.suffix.lower() in VECTOR_SUFFIXES):
        right = "polygons or points" if request.form == "mask" else "mask"
        known = f"; polygons and points are read from {', '.join(VECTOR_SUFFIXES)}" if right == "mask" else ""
        raise LabelError(f"{path} holds no {request.form}: use --form {right}{known}.")
    with closing(open_labels(path, ground, request.taxonomy, request.reading, problems)) as labels:
        indices = labels.read(ground.whole_m)
        for warning in labels.warnings():
            problems.add(str(path), warning, "warning")
    _check_labels(indices, str(path), request.taxonomy, problems)
    codes = np.full(256, IGNORE_INDEX, np.uint8)
    codes[: len(label_set)] = label_set.codes
    return codes[indices], dict(labels.unlabelled)


def _check_labels(indices: np.ndarray, where: str, taxonomy: Taxonomy, problems: Problems) -> None:
    present = np.flatnonzero(np.bincount(indices.ravel(), minlength=256)[:IGNORE_INDEX])
    if len(present) == 1:
        name = taxonomy.classes[present[0]].name
        problems.add(where, f"shows {name!r} alone on the scene; a model needs at least two classes.")
    if not len(present) and not problems.errors:
        problems.add(
            where, "labels nothing: it lies nowhere on the scene, or has no class there; check its coordinate system."
        )


def _check_pixels(scene: Any, where: str, known: frozenset[str] | None, problems: Problems) -> None:
    _check_values(scene, where, problems)
    missing = [] if known is None else [slot for slot in scene.sensor.slots if slot not in known]
    if missing:
        problems.add(where, f"brings {', '.join(missing)}, which the checkpoint was not trained on.")
    if "B09" not in scene.sensor.slots or "B10" not in scene.sensor.slots:
        return
    pixels = scene.read((0, 0, min(scene.width_m // 60, 20) * 60, min(scene.height_m // 60, 20) * 60))[60]
    group = next(group for group in scene.sensor.groups if group.gsd_m == 60)
    vapour, cirrus = (float(np.median(pixels[group.slots.index(slot)])) for slot in ("B09", "B10"))
    if vapour < cirrus:  # B10 sees only cirrus and is the darkest band of every clear scene
        problems.add(
            where,
            f"has a brighter B10 ({cirrus:.0f}) than B09 ({vapour:.0f}): the bands are in another"
            " order, in EuroSAT's files B8A comes last; pass --band-order eurosat.",
        )


def _check_values(scene: Any, where: str, problems: Problems) -> None:
    """Note pixels that were never measured, and reflectance that no ground has: another scale or offset than said."""
    side_m = [min(length // 60, 20) * 60 or 60 for length in (scene.width_m, scene.height_m)]
    groups = scene.read(((scene.width_m - side_m[0]) // 120 * 60, (scene.height_m - side_m[1]) // 120 * 60, *side_m))
    values = np.concatenate([dn_to_reflectance(group).ravel() for group in groups.values()])
    values = values[np.isfinite(values)]
    if not values.size:
        whole = scene.read((0, 0, -(-scene.width_m // 60) * 60, -(-scene.height_m // 60) * 60))
        if not any(valid(group).any() for group in whole.values()):
            problems.add(where, "holds no measured pixel: all of it is nodata; leave it out.")
        return
    middle = float(np.median(values))
    if not DARKEST <= middle <= BRIGHTEST:
        problems.add(
            where,
            f"reflects {middle:.3f} in the middle, which no ground does: its values have another scale"
            " or offset; pass --offset, or write reflectance x 10000.",
        )


def _link_chips(folder: Path, chips: tuple[Chip, ...], taxonomy: Taxonomy) -> dict[str, int]:
    homes = _class_folders([land_class.name for land_class in taxonomy.classes])
    for chip in chips:
        home = folder / "chips" / homes[chip.class_index]
        home.mkdir(parents=True, exist_ok=True)
        name = next(name for name in _names_for(chip.path.name) if not os.path.lexists(home / name))
        os.symlink(chip.path.resolve(), home / name, target_is_directory=chip.path.is_dir())
    counts = Counter(chip.class_index for chip in chips)
    return {taxonomy.classes[index].name: count for index, count in sorted(counts.items())}


def _class_folders(names: Sequence[str]) -> list[str]:
    """Return a folder's name for each class, which the label set finds the class by.

    Raises:
        LabelError: two classes would have one folder, or a name can be no folder's that anybody reads.
    """
    homes = [name.replace("/", "-") for name in names]
    for home in homes:
        if home.startswith(".") or len(os.fsencode(home)) > LONGEST_NAME - HIDDEN_NAME:
            raise LabelError(f"the class {home[:40]!r} can be no folder (a dot in front, or too long); rename it.")
    taken: dict[str, str] = {}
    for home, name in zip(homes, names, strict=True):
        key = unicodedata.normalize("NFC", home).casefold()  # some disks tell neither cases nor accents apart
        if (other := taken.setdefault(key, name)) != name:
            raise LabelError(f"the classes {other!r} and {name!r} would share the folder {home!r}; rename one of them.")
    return homes


def _names_for(name: str) -> Iterator[str]:
    """Yield names for a link: the file's own, then numbered ones."""
    yield name
    yield from (f"{number}-{name}" for number in itertools.count(1))


def _link_patches(folder: Path, chips: tuple[Chip, ...], taxonomy: Taxonomy) -> dict[str, int]:
    """Link patches as scenes, and write the names of their classes by the key that their shards will have."""
    (folder / "scenes").mkdir()
    names, table = [land_class.name for land_class in taxonomy.classes], {}
    for number, chip in enumerate(chips):
        key = re.sub(r"[^A-Za-z0-9_-]+", "-", chip.path.name)  # a shard's keys have no dots
        while key in table:
            key = f"{key}-{number}"
        os.symlink(chip.path.resolve(), folder / "scenes" / key, target_is_directory=chip.path.is_dir())
        table[key] = [names[index] for index in chip.classes]
    write_json(folder / "chip_labels.json", table)
    counts = Counter(index for chip in chips for index in chip.classes)
    return {names[index]: count for index, count in sorted(counts.items())}


def _write_scene(folder: Path, request: Request, prepared: Prepared) -> dict[str, int]:
    codes, ground = prepared.codes, prepared.ground
    if codes is None or ground is None:
        raise LabelError(f"{request.source} gave no labels.")
    (folder / "scenes").mkdir()
    (folder / "labels").mkdir()
    os.symlink(request.source.resolve(), folder / "scenes" / request.source.name)
    with rasterio.open(
        folder / "labels" / f"{prepared.name}.tif",
        "w",
        driver="GTiff",
        height=ground.height,
        width=ground.width,
        count=1,
        dtype="uint8",
        crs=ground.crs,
        transform=ground.transform,
        nodata=IGNORE_INDEX,
        compress="deflate",
    ) as raster:
        raster.write(codes, 1)
    return {land_class.name: int((codes == land_class.code).sum()) for land_class in request.taxonomy.classes}
