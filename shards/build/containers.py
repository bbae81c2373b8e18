"""Samples of a build's sources: a scene is one, a corpus's container has many, each with where it comes from."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import xxhash

from bandloom.errors import SceneError
from bandloom.shards.build.plan import Plan
from bandloom.shards.build.sources import Source
from bandloom.shards.corpora.corpus import INNER, Asked, Container
from bandloom.shards.corpora.known import get_corpus
from bandloom.shards.scenes import Scene

LONGEST_KEY = 76  # a tar's header has 100 bytes for KEY_r0000_c0000.value.b2nd


@dataclass(frozen=True)
class Opening:
    """One scene to be opened: under which source and key, how, and where in a corpus it comes from."""

    source: Source
    open: Callable[[], Scene]
    origin: dict[str, Any] | None = None


def openings(source: Source, plan: Plan) -> Iterator[Opening]:
    """Yield the scene of a source, or every sample of a container, in order.

    Raises:
        BandloomError: the container cannot be read, or not from here on.
    """
    if source.corpus is None:
        yield Opening(source, lambda: plan.open(source))
        return
    corpus, seen = get_corpus(source.corpus), set()
    container = Container(source.path, source.inner)
    for member in corpus.members(container, Asked(plan.options.offset)):
        address = f"{source.path}{INNER}{member.inner}"
        key = short_key(source.key, member.key)
        if key in seen:
            raise SceneError(f"{source.path} names {member.inner} twice; which counts is not known: fetch it again.")
        seen.add(key)
        origin = {"corpus": corpus.name, "address": address, **member.origin}
        yield Opening(Source(address, key), member.open, {name: v for name, v in origin.items() if v is not None})


def short_key(container: str, member: str) -> str:
    """Return the key of a sample in a container: both names, or where these are too long for a tar's header, the
    sample's own and a hash of both.
    """
    key = f"{container}_{member}"
    if len(key) <= LONGEST_KEY:
        return key
    return f"{member[:60]}_{xxhash.xxh3_64_hexdigest(key.encode())[:12]}"


@dataclass
class ContainerFacts:
    """What is recorded of a container's samples together: the manifest names files, the index their samples."""

    source: Source
    samples: int = 0
    told: dict[str, Counter[str]] = field(default_factory=dict)
    exact: Counter[str] = field(default_factory=Counter)
    sensors: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def origin_of(scene: Scene) -> dict[str, Any]:
        """Return the part of a scene's provenance that each of its index entries carries."""
        wanted = ("offset", "offset_from", "upsampled_by", "phase_px")
        return {name: scene.provenance[name] for name in wanted if name in scene.provenance}

    def take(self, scene: Scene) -> None:
        """Count a scene that was used."""
        facts = scene.provenance
        self.samples += 1
        for name in ("offset_from", "upsampled_by", "phase_px", "corner", "padding"):
            if name in facts:
                said = f"{facts['offset']}: {facts[name]}" if name == "offset_from" else _words(facts[name])
                self.told.setdefault(name, Counter())[said] += 1
        for name in ("exact_0", "exact_1000"):
            self.exact[name] += facts.get(name, 0)
        if scene.sensor.name not in self.sensors:
            self.sensors[scene.sensor.name] = scene.sensor.to_dict()

    def record(self) -> dict[str, Any]:
        """Return the provenance of the container."""
        corpus = get_corpus(self.source.corpus or "")
        return {
            "source": self.source.path,
            "corpus": corpus.name,
            "licence": corpus.licence,
            "samples": self.samples,
            **{name: dict(sorted(counts.items())) for name, counts in sorted(self.told.items())},
            **({"exact": dict(self.exact)} if self.exact else {}),
            "sensor_records": self.sensors,
        }


def _words(fact: Any) -> str:
    return ", ".join(f"{name} {how}" for name, how in fact.items()) if isinstance(fact, dict) else str(fact)
