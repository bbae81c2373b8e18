"""A public label set: what is known of it as a record, and how its samples, pixels and labels are read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from bandloom.classes.taxonomy import Taxonomy
from bandloom.errors import LabelError
from bandloom.finetune.public_sets.place import Place
from bandloom.sensors import Sensor, get_sensor
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Labels
from bandloom.shards.scenes import Scene
from bandloom.tasks import ANSWERS, Answer, TaskName


@dataclass(frozen=True)
class Facts:
    """What is known of a set before its files are seen; it goes into the manifest of its shards.

    Args:
        form: its name for ``--form``.
        title: its name in words.
        task: what its labels teach.
        label_set: the shipped label set of its classes.
        sensor: whose bands these are.
        bands: their names in the order of its files.
        units: what a stored value means.
        offset: what to add to a stored value to get ``10000 * reflectance``.
        side_px: side of a sample in pixels of 10 m, a multiple of 6: a chip padded, or the squares it is cut into.
        splits: its published splits, the usual one first.
        layout: the files it is recognised by, for messages.
        licence: of the set as it is published.
        source: where it is described or lies.
        size: samples and bytes.
        pixels: which bands still hold the samples that were measured, and which were interpolated.
        label_sets: others that its labels can be given in, for ``--label-set``.
        choices: what ``--take`` may be, each with what it does.
        unsettled: facts that the first real files settle, each with the check that is made of them.
    """

    form: str
    title: str
    task: TaskName
    label_set: str
    sensor: str
    bands: tuple[str, ...]
    units: str
    offset: int
    side_px: int
    splits: tuple[str, ...]
    layout: str
    licence: str
    source: str
    size: str
    pixels: str
    label_sets: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    unsettled: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        """The form of the answer that its task gives."""
        return ANSWERS[self.task]

    @property
    def own_sensor(self) -> Sensor:
        """The sensor, cut down to the bands that the set has, under a name of its own where it lacks some."""
        whole = get_sensor(self.sensor)
        kept = [band.name for band in whole.bands if band.name in self.bands]
        used = [band.name for band in whole.bands if band.slot]
        return whole if set(used) <= set(kept) else whole.subset(kept, f"{whole.name}-{len(kept)}-bands")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class SetSample:
    """One sample of a set.

    Args:
        path: its file or folder, or FILE#ADDRESS; only the set's own reader needs to understand it.
        key: unique in the set, of letters, digits, ``-`` and ``_``.
        roles: train, val or test by the name of a published split; a split that leaves it out has no entry.
        classes: words of its classes: one to classify, any number for several; empty where pixels have labels.
        squares: about how many samples of the shards it is cut into.
    """

    path: str
    key: str
    roles: Mapping[str, str]
    classes: tuple[str, ...] = ()
    squares: int = 1


class PublicSet(ABC):
    """One public set in one folder; siblings differ in their record and their layout.

    Args:
        root: the folder (or archive) that the user names.
        take: which of :attr:`Facts.choices`; None: the usual one.

    Raises:
        LabelError: the layout is not there, or the choice is not known.
    """

    facts: ClassVar[Facts]

    def __init__(self, root: Place, take: str | None = None) -> None:
        base = self.find(root)
        if base is None:
            raise LabelError(f"{root} holds no {self.facts.title}; expected {self.facts.layout}.")
        self.root, self.place, self.take = root, base, self.check_take(take)

    @classmethod
    @abstractmethod
    def find(cls, root: Place) -> Place | None:
        """Return the folder that the layout counts from, or None where ``root`` does not hold this set."""

    @classmethod
    def check_take(cls, take: str | None) -> str | None:
        """Return a choice that the set knows.

        Raises:
            LabelError: it does not.
        """
        if take is None or take in cls.facts.choices:
            return take
        known = ", ".join(f"{name} ({what})" for name, what in cls.facts.choices.items())
        raise LabelError(f"--take {take!r} is not for --form {cls.facts.form}; it knows {known or 'no choice'}.")

    @abstractmethod
    def samples(self, problems: Problems) -> Sequence[SetSample]:
        """Return all samples in a fixed order, and note what is missing or doubtful."""

    def words_in(self, label_set: str, samples: Sequence[SetSample], problems: Problems) -> Sequence[SetSample]:
        """Return the samples with their classes in another of :attr:`Facts.label_sets`, where there are any."""
        return samples

    @abstractmethod
    def open(self, path: str) -> Scene:
        """Open the pixels of a sample.

        Raises:
            BandloomError: they are not what the record says.
        """

    def labels(self, path: str, scene: Scene, taxonomy: Taxonomy) -> Labels | None:
        """Open the label raster of a sample; None where it has a class of its own, or none.

        Raises:
            BandloomError: it is not what the record says.
        """
        return None
