"""``bandloom labels prepare DIR --form NAME`` for a public set: shards with its own split, and a config."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bandloom.classes.taxonomy import Taxonomy, get_taxonomy
from bandloom.draws.evenly import evenly
from bandloom.errors import LabelError, OutputError
from bandloom.files.output import write_json
from bandloom.finetune.public_sets.public_set import Facts, SetSample
from bandloom.finetune.public_sets.registry import open_set
from bandloom.finetune.public_sets.set_reader import SetReader
from bandloom.shards.build.build import build_plan
from bandloom.shards.build.plan import BuildOptions, Plan, group_units
from bandloom.shards.build.sources import Source
from bandloom.shards.labels.problems import Problems
from bandloom.shards.labels.reading import Ground
from bandloom.shards.store.manifest import read_manifest

LOOKED_AT = 40  # samples whose pixels and labels `labels check` reads
SHARDS, CONFIG, TABLE, SEAL = "shards", "finetune.yaml", "chip_labels.json", "manifest.json"


@dataclass(frozen=True)
class SetRequest:
    """A public set to prepare.

    Args:
        form: which set.
        root: its folder or archive.
        label_set: its classes under another label set that it can give; None: its own.
        take: which of its choices.
    """

    form: str
    root: Path
    label_set: str | None = None
    take: str | None = None

    @property
    def reader(self) -> SetReader:
        """What opens its samples."""
        facts = open_set(self.form, str(self.root), self.take).facts
        return SetReader(self.form, str(self.root), self.label_set or facts.label_set, self.take)


def examine_set(request: SetRequest) -> Problems:
    """List every sample, read some evenly picked ones whole, and gather what is wrong."""
    problems = Problems()
    with problems.gather(str(request.root)):
        samples, reader = _listed(request, problems), request.reader
        for number in evenly(len(samples), LOOKED_AT):
            source = _source(samples[int(number)], open_set(request.form, str(request.root), request.take).facts)
            with problems.gather(source.path), reader.open(source) as scene:
                labels = reader.labels(source, scene)
                if labels is not None:
                    labels.read(Ground.of(scene).whole_m)
                    labels.close()
    return problems


def prepare_set(
    request: SetRequest, out: Path, *, workers: int = 1, part: tuple[int, int] = (0, 1), finish: bool = True
) -> dict[str, Any]:
    """Write OUT/shards and OUT/finetune.yaml, and return the manifest; a stopped call goes on when called again.

    Args:
        request: which set, and where it lies.
        out: the folder to write.
        workers: processes.
        part: (i, n): do every n-th unit of work, as one of n machines that share the disk.
        finish: put the parts together; with parts, call once more without.

    Raises:
        BandloomError: the set is not what its record says, or ``out`` cannot be written.
    """
    if (out / SEAL).exists():
        raise OutputError(f"the output {out} exists already; choose another name, or remove it first.")
    problems = Problems()
    samples, facts = _listed(request, problems), open_set(request.form, str(request.root), request.take).facts
    problems.raise_first()
    taxonomy = get_taxonomy(request.reader.label_set)
    table = _table(samples, taxonomy) if facts.answer.several else None
    out.mkdir(parents=True, exist_ok=True)
    if not (out / SHARDS).exists():
        build_plan(_plan(request, samples, facts, taxonomy), out / SHARDS, workers=workers, part=part, finish=finish)
    if not finish:
        return {}
    (out / "label_set.yaml").write_text(
        yaml.safe_dump(taxonomy.to_dict(), sort_keys=False, allow_unicode=True), "utf-8"
    )
    if table is not None:
        write_json(out / TABLE, table)
    (out / CONFIG).write_text(yaml.safe_dump(_config(facts, out), sort_keys=False), "utf-8")
    shards = read_manifest(out / SHARDS)
    manifest = {
        "schema": 1,
        "form": facts.form,
        "source": str(request.root.resolve()),
        "label_set": taxonomy.label_set.name,
        "samples": shards["samples"],
        "published": shards["published"],
        "quarantined": shards["quarantined"],
        "warnings": problems.to_dict()["problems"],
        "unsettled": list(facts.unsettled),
    }
    write_json(out / SEAL, manifest)
    return manifest


def _listed(request: SetRequest, problems: Problems) -> Sequence[SetSample]:
    public = open_set(request.form, str(request.root), request.take)
    known = (public.facts.label_set, *public.facts.label_sets)
    if request.reader.label_set not in known:
        raise LabelError(
            f"--label-set {request.reader.label_set} is not what {public.facts.title} is labelled in; leave it out, or"
            f" use {' or '.join(known)}."
        )
    samples = public.words_in(request.reader.label_set, public.samples(problems), problems)
    if not samples:
        problems.raise_first()
        raise LabelError(f"{request.root} holds no sample of {public.facts.title}; expected {public.facts.layout}.")
    twice = [key for key, count in Counter(sample.key for sample in samples).items() if count > 1]
    if twice:
        raise LabelError(f"{request.root} holds two samples {twice[0]!r}; keep one of them.")
    return samples


def _source(sample: SetSample, facts: Facts) -> Source:
    class_name = sample.classes[0] if facts.answer.one_a_chip and sample.classes else None
    return Source(sample.path, sample.key, class_name, published=dict(sample.roles))


def _plan(request: SetRequest, samples: Sequence[SetSample], facts: Facts, taxonomy: Taxonomy) -> Plan:
    """Return the plan of a build; unlike a user's scenes, a set's samples are not opened to be counted."""
    default = next((split for split in facts.splits if any(split in sample.roles for sample in samples)), None)
    if default is None:
        raise LabelError(f"{request.root} gives no sample a role; its lists name other samples than lie there.")
    squares = tuple(sample.squares for sample in samples)
    options = BuildOptions(facts.side_px, sensor=facts.sensor, label_set=request.reader.label_set)
    sources = tuple(_source(sample, facts) for sample in samples)
    return Plan(options, sources, group_units(squares), squares, {}, taxonomy, reader=request.reader, published=default)


def _table(samples: Sequence[SetSample], taxonomy: Taxonomy) -> dict[str, list[str]]:
    """Return the names of every sample's classes by its key, as task multilabel reads them."""
    names = taxonomy.label_set.names
    return {sample.key: sorted({names[taxonomy.find(word)] for word in sample.classes}) for sample in samples}


def _config(facts: Facts, out: Path) -> dict[str, Any]:
    """Return the config that ``bandloom finetune`` takes as it is."""
    config: dict[str, Any] = {"shards": str((out / SHARDS).resolve()), "task": facts.task}
    if facts.answer.several:
        config["chip_labels"] = str((out / TABLE).resolve())
    if facts.answer.dates > 1:
        config["change_labels"] = "mask"
    return config | {"split": {"kind": "published"}}
