"""Roles of samples as a set's authors list them: files of names, and validation where they publish none."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from bandloom.errors import LabelError
from bandloom.finetune.data.splits import stable_hash, unit
from bandloom.finetune.public_sets.public_set import SetSample
from bandloom.shards.labels.problems import Problems

Name = TypeVar("Name")
VAL_SHARE = 0.15  # of the published training groups, where no validation is published


def listed_names(text: str, name_of: Callable[[str], str]) -> list[str]:
    """Return the names in a list of one a line: its first column, blank lines and ends of other systems aside."""
    lines = (line.strip().split(",")[0].strip().strip('"') for line in text.splitlines())
    return [name_of(line) for line in lines if line]


def roles_of(lists: Mapping[str, Iterable[str]], where: str) -> dict[str, str]:
    """Return the role of every name.

    Raises:
        LabelError: a name is listed under two roles.
    """
    roles: dict[str, str] = {}
    for role, names in lists.items():
        for name in names:
            if roles.setdefault(name, role) != role:
                raise LabelError(f"{where} lists {name} under {roles[name]} and under {role}; fetch the lists again.")
    return roles


def note_differences(
    there: Iterable[str], roles: Mapping[str, str], split: str, problems: Problems, where: str
) -> None:
    """Note samples that are listed and not there (a warning with their number), and those in no list."""
    there = set(there)
    absent, unlisted = sorted(set(roles) - there), len(there - set(roles))
    if absent:
        what = f"{len(absent)} samples of the published split {split!r} are not there, such as {absent[0]}."
        problems.add(where, what, "error" if len(absent) == len(roles) else "warning")
    if unlisted:
        what = f"{unlisted} samples are in no list of the published split {split!r}; no split of it will use them."
        problems.add(where, what, "warning")


def with_validation(
    samples: Sequence[SetSample], split: str, group_of: Callable[[SetSample], str], share: float = VAL_SHARE
) -> list[SetSample]:
    """Hold out whole groups of training samples for validation, by a stable hash, where the authors publish none.

    Args:
        samples: of a set whose split ``split`` has no validation.
        split: which split.
        group_of: the city, tile or scene of a sample: neighbours must not be parted.
        share: of the groups, at least one; of a single group nothing is held out.
    """
    groups = sorted({group_of(sample) for sample in samples if sample.roles.get(split) == "train"})
    if len(groups) < 2:
        return list(samples)
    draws = {group: float(unit(stable_hash(0, *group.encode()))) for group in groups}
    held = set(sorted(groups, key=draws.__getitem__)[: max(1, round(share * len(groups)))])
    return [
        replace(sample, roles={**sample.roles, split: "val"})
        if sample.roles.get(split) == "train" and group_of(sample) in held
        else sample
        for sample in samples
    ]
