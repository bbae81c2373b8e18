"""Opens the samples of a public set for a build of shards, in whichever process it runs."""

from dataclasses import dataclass
from typing import Any

from bandloom.classes.taxonomy import get_taxonomy
from bandloom.finetune.public_sets.registry import SETS, open_set
from bandloom.shards.build.sources import Source
from bandloom.shards.labels.reading import Labels
from bandloom.shards.scenes import Scene


@dataclass(frozen=True)
class SetReader:
    """A :class:`bandloom.shards.build.reader.SourceReader` of one public set in one folder.

    Args:
        form: which set.
        root: its folder or archive.
        label_set: the classes, as ``--label-set`` names them.
        take: which of the set's choices.
    """

    form: str
    root: str
    label_set: str
    take: str | None = None

    def open(self, source: Source) -> Scene:
        """Open the pixels of a sample."""
        return open_set(self.form, self.root, self.take).open(source.path)

    def labels(self, source: Source, scene: Scene) -> Labels | None:
        """Open the label raster of a sample, where it has one."""
        taxonomy = get_taxonomy(self.label_set)
        return open_set(self.form, self.root, self.take).labels(source.path, scene, taxonomy)

    def to_dict(self) -> dict[str, Any]:
        """Return the set's record, and what was chosen."""
        return {**SETS[self.form].facts.to_dict(), "label_set": self.label_set, "take": self.take}
