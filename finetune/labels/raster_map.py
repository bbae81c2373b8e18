"""A label raster in another label set."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandloom.classes.label_mapping import Mapping
from bandloom.classes.label_set import IGNORE_INDEX
from bandloom.files.output import new_output, one_writer
from bandloom.files.written_raster import written_raster
from bandloom.shards.labels.code_table import CodeTable
from bandloom.shards.labels.reading import LabelReading
from bandloom.shards.labels.stored_raster import StoredRaster


@dataclass(frozen=True)
class Mapped:
    """What a translation lost.

    Args:
        lost: pixels by class without a counterpart.
        lossy: names of occurring classes for which the target means something wider, narrower or overlapping.
        warnings: what else a person should know of the raster.
    """

    lost: dict[str, int]
    lossy: list[str]
    warnings: list[str]


@one_writer
def map_raster(path: Path, out: Path, mapping: Mapping, reading: LabelReading) -> Mapped:
    """Write ``path``, in the source's codes or ids, in the target's codes.

    Raises:
        LabelError: the raster cannot be a mask, or holds a value outside the source's label set.
        OutputError: ``out`` exists or cannot be written.
        SceneError: the raster cannot be read.
    """
    with closing(StoredRaster(path, reading)) as stored:
        table = CodeTable(stored, mapping.source, asked=reading.nodata is not None)
        values, why = stored.read()
        profile, notes = stored.raster.profile, stored.warnings()
    index = table.indices(values, why)
    table.count(values, why, index)
    target = mapping.target.label_set
    mapped, lost = mapping.labels(index)
    codes = np.append(np.array(target.codes, np.uint8), np.full(256 - len(target), IGNORE_INDEX, np.uint8))
    profile.update(dtype="uint8", count=1, nodata=IGNORE_INDEX, driver="GTiff")
    with new_output(out) as temporary, written_raster(temporary, out, **profile) as written:
        written.write(codes[mapped][None])
        written.file.write_colormap(
            1, {land_class.code: tuple(target.rgb[i].tolist()) for i, land_class in enumerate(target.classes)}
        )
    present = set(np.unique(index).tolist())
    lossy = [
        land_class.name for i, land_class in enumerate(mapping.source.classes) if i in present and mapping.lossy[i]
    ]
    return Mapped(lost, lossy, [*notes, *table.warnings()])
