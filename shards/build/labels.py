"""The labels of one scene of a build: where they lie, how they are opened, and what is to be said of them after it."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bandloom.errors import LabelError
from bandloom.shards.build.plan import Plan
from bandloom.shards.build.sources import Source
from bandloom.shards.labels.open_labels import label_path, open_labels
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground, Labels
from bandloom.shards.scenes import Scene


@dataclass
class LabelNotes:
    """What a person should know of the labels of some scenes; it goes into the journal."""

    said: list[str] = field(default_factory=list)
    unlabelled_px: Counter[str] = field(default_factory=Counter)

    def take(self, labels: Labels | None, scene: str) -> None:
        """Note what the labels of a scene have to say once it is read."""
        if labels is not None:
            self.said += [f"the labels of {scene}: {warning}" for warning in labels.warnings()]
            self.unlabelled_px += labels.unlabelled


def open_scene_labels(files: ExitStack, scene: Scene, source: Source, plan: Plan, notes: LabelNotes) -> Labels | None:
    """Open the labels of a scene, if the build joins any; ``files`` closes them.

    Raises:
        LabelError: anything in them cannot be used, or a file of this scene alone does not lie on it.
    """
    if plan.reader is not None:
        read = plan.reader.labels(source, scene)
        if read is not None:
            files.callback(read.close)
        return read
    pattern = plan.options.labels
    if not pattern or plan.taxonomy is None:
        return None
    path, problems = label_path(pattern, source.path, scene.name), Problems()
    labels = open_labels(path, Ground.of(scene), plan.taxonomy, plan.options.reading, problems)
    files.callback(labels.close)
    problems.raise_first()
    notes.said += [f"{problem.where}: {problem.what}" for problem in problems.found]
    if path != Path(pattern) and not labels.meets_scene:
        raise LabelError(f"{path} labels nothing on scene {scene.name}; check its coordinate system and its place.")
    return labels
