"""Sections of a report, by the kind of folder it is about."""

import shlex
from collections.abc import Callable, Sequence

from bandloom.view.records import Record
from bandloom.view.sections import alignment, deployment, finetuning, samples, training, worth
from bandloom.view.sections.parts import Section

MAKERS: dict[str, Sequence[Callable[[Record], Section]]] = {
    "shards": (
        samples.samples,
        samples.quarantine,
        samples.contact_sheet,
        samples.places,
        samples.statistics,
        samples.sources,
    ),
    "pretrain": (training.losses, training.feature_scores, training.speed, training.events, training.pictures),
    "finetune": (
        worth.worth,
        finetuning.scores,
        finetuning.verdicts,
        finetuning.seeds,
        training.worst,
        finetuning.classes,
        finetuning.confusions,
        finetuning.bands,
        training.pictures,
        training.losses,
        training.events,
        training.speed,
        finetuning.calibration,
        finetuning.split,
    ),
    **dict.fromkeys(
        ("probe", "baselines", "evaluate"),
        (
            finetuning.scores,
            training.worst,
            finetuning.classes,
            finetuning.confusions,
            training.pictures,
            finetuning.calibration,
            finetuning.split,
        ),
    ),
    "align": (
        alignment.words,
        alignment.retrieval,
        alignment.few_shot,
        alignment.text,
        training.losses,
        training.speed,
        training.events,
        training.pictures,
    ),
    "run": (training.results, training.losses, training.speed, training.events, training.pictures),
    "bundle": (deployment.parity, deployment.engines, deployment.contract, deployment.provenance),
    "map": (deployment.map_picture, deployment.areas, deployment.timing, deployment.map_facts),
}


def sections_of(record: Record) -> list[Section]:
    """Return what a record has to show, in reading order; sections without content are left out."""
    return [section for make in MAKERS[record.kind] if not (section := make(record)).is_empty]


def commands_of(record: Record) -> dict[str, str]:
    """Return the command as it was typed, or that it was not kept and one that makes the same."""
    if not record.command:
        return {"command": "not kept when this was made"}
    told = shlex.join(record.command)
    return {"command": told} if record.typed else {"command": "not kept when this was made", "makes the same": told}


def facts_of(record: Record) -> dict[str, str]:
    """Return what was run, where, and by what."""
    facts = {"where": str(record.path)}
    for name in ("bandloom", "commit", "python", "platform"):
        if record.environment.get(name):
            facts[name] = str(record.environment[name])
    if record.kind == "shards":
        facts |= {"made by": str(record.result.get("made_by", "?")), "split": str(record.result.get("split_rule", "?"))}
    if record.kind == "bundle":
        facts |= {"made": str(record.result.get("created", "?"))}
        facts |= {name: str(version) for name, version in record.result.get("versions", {}).items()}
    packages = record.environment.get("packages", {})
    if packages:
        facts["packages"] = ", ".join(f"{name} {version}" for name, version in packages.items())
    return facts
