"""Readers of collections: how a build opens a source that is one sample of a published set, and finds its labels."""

from typing import Any, Protocol

from bandloom.shards.build.sources import Source
from bandloom.shards.labels.reading import Labels
from bandloom.shards.scenes import Scene


class SourceReader(Protocol):
    """Opens the sources of one build in place of the usual scene readers; it travels to the build's processes."""

    def open(self, source: Source) -> Scene:
        """Open a source; its path may lead into a file, as the reader itself wrote it.

        Raises:
            BandloomError: it cannot be read as what the collection says it is.
        """
        ...

    def labels(self, source: Source, scene: Scene) -> Labels | None:
        """Open the label raster of a source, or return None where it has none.

        Raises:
            BandloomError: it cannot be used.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return what the collection is, as plain JSON types: it goes into the plan's digest and the manifest."""
        ...
