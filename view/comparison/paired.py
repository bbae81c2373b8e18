"""Scores of two runs on the blocks of ground that tested both, with intervals of their difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bandloom.block_scores import BLOCKS, DRAWS, class_scores, drawn, headlines, margins, read_blocks
from bandloom.scores import ScoreRecord, ScoreRow
from bandloom.several_scores import DECISIONS, Several, draws_for, headline, read_decisions
from bandloom.several_scores import margins as several_margins
from bandloom.tasks import ANSWERS
from bandloom.view.comparison.shared_chips import class_differences, shared_chips
from bandloom.view.records import Record

LESS_IS_BETTER = ("rmse", "mae")
UNRANKED = ("bias", "threshold")  # nearer to nought is better, or neither
SHOWN = ("f1", "iou")  # of a class, of those that are counted
ONE_BLOCK = "one block of ground says nothing of chance"
DIFFERENT_GROUND = "They were tested on different ground: no score is compared."


@dataclass(frozen=True)
class Difference:
    """A score of two runs, and the 95 % interval of the second less the first where one is known."""

    first: float
    second: float
    interval: tuple[float, float] | None = None

    @property
    def gap(self) -> float:
        """The second less the first."""
        return self.second - self.first


@dataclass(frozen=True)
class Pair:
    """What two runs score on the same ground.

    Args:
        scores: by name, the most telling first.
        classes: by class, by score.
        support: labels by class.
        labels: how many labels tested both.
        blocks: in how many blocks they lie; of how many that tested the first, and the second.
        why: in words why no interval is known; empty where one is.
        draws: of blocks behind the intervals.
    """

    scores: Mapping[str, Difference]
    classes: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)
    support: Mapping[str, int] = field(default_factory=dict)
    labels: int = 0
    blocks: tuple[int, int, int] = (0, 0, 0)
    why: str = ""
    draws: int = DRAWS


def pair(first: Record, second: Record) -> Pair | str:
    """Return the scores of two runs on the ground that tested both, or why they cannot be compared."""
    scores = [record.scores for record in (first, second)]
    one, other = scores
    if one is None or other is None:
        return "One of them holds no scores yet."
    if _names(one) != _names(other):
        told = f"{', '.join(_names(one))}; {', '.join(_names(other))}"
        return f"They tell other classes apart ({told}): no score is compared."
    if one.target != other.target:
        return "They predict other quantities: no score is compared."
    rows = own_row(first.kind, one), own_row(second.kind, other)
    same = one.split.get("hash") is not None and one.split.get("hash") == other.split.get("hash")
    records = tuple(zip((first, second), rows, strict=True))
    chips = [read_decisions(record.path).get(row.name) for record, row in records]
    if chips[0] is not None and chips[1] is not None:
        return _of_chips(chips[0], chips[1], one) if same or _same_place(first, second) else DIFFERENT_GROUND
    counted = [_blocks(record, row) for record, row in records]
    if not all(counted):
        which = " and ".join(str(r.path) for r, held in zip((first, second), counted, strict=True) if not held)
        answer = ANSWERS.get(one.task)
        file = DECISIONS if answer is not None and answer.several else BLOCKS
        why = f"{which} keeps no counts by block ({file}), so whether chance explains the difference cannot be said"
        return _unpaired(*rows, why) if same else f"They were tested on different ground, and {why}."
    shared = {
        block for block in counted[0].keys() & counted[1].keys() if _same_truth(counted[0][block], counted[1][block])
    }
    if not shared or not (same or _same_place(first, second)):
        return DIFFERENT_GROUND
    blocks = len(shared), len(counted[0]), len(counted[1])
    mine, theirs = ({block: held[block] for block in sorted(shared)} for held in counted)
    return _paired(mine, theirs, one, blocks)


def own_row(kind: str, scores: ScoreRecord) -> ScoreRow:
    """Return the row that a run is about: its model's, or of baselines alone the strongest."""
    main = main_score(scores.rows[0])
    if kind != "baselines":
        return scores.rows[0]
    return (min if main in LESS_IS_BETTER else max)(scores.rows, key=lambda row: row.scores[main])


def main_score(row: ScoreRow) -> str:
    """Return the score that decides."""
    return "macro_f1" if "macro_f1" in row.scores else row.headline[0]


def _paired(
    own: Mapping[int, np.ndarray], other: Mapping[int, np.ndarray], record: ScoreRecord, blocks: tuple[int, int, int]
) -> Pair:
    stacks = [np.stack(list(counts.values())) for counts in (own, other)]
    classes = stacks[0].ndim > 2
    totals = [stack.sum(axis=0) for stack in stacks]
    values = [headlines(total, classes) for total in totals]
    bounds = margins(other, own)
    scores = {
        name: Difference(*(float(held[name]) for held in values), interval=_two(bounds.get(name))) for name in values[0]
    }
    labels = int(totals[0].sum() if classes else totals[0][0])
    why = "" if bounds else ONE_BLOCK
    main = main_score(record.rows[0])
    scores = {main: scores[main]} | scores
    if not classes:
        return Pair(scores, labels=labels, blocks=blocks, why=why)
    names = _names(record)
    support = dict(zip(names, totals[0].sum(axis=1).tolist(), strict=True))
    return Pair(scores, _by_class(stacks, names), support, labels, blocks, why)


def _of_chips(own: Several, other: Several, record: ScoreRecord) -> Pair | str:
    """Return the scores of two runs on the chips of several classes that tested both."""
    mine, theirs, blocks = shared_chips(own, other)
    if not len(mine.truth):
        return DIFFERENT_GROUND
    values, bounds = [headline(held) for held in (mine, theirs)], several_margins(theirs, mine)
    scores = {name: Difference(values[0][name], values[1][name], _two(bounds.get(name))) for name in values[0]}
    main, names = main_score(record.rows[0]), _names(record)
    classes = {
        name: {score: Difference(*held, _two(between)) for score, (held, between) in by_score.items()}
        for name, by_score in class_differences(mine, theirs, names, paired=bool(bounds)).items()
    }
    support = dict(zip(names, mine.truth.sum(axis=0, dtype=int).tolist(), strict=True))
    why = "" if bounds else ONE_BLOCK
    scores = {main: scores[main]} | scores
    return Pair(scores, classes, support, len(mine.truth), blocks, why, draws_for(mine))


def _by_class(stacks: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, dict[str, Difference]]:
    """Return F1 and IoU of every class that is true or predicted anywhere, with paired intervals."""
    values = [class_scores(stack.sum(axis=0)) for stack in stacks]
    draws = [class_scores(drawn(stack, DRAWS)) for stack in stacks] if len(stacks[0]) > 1 else []
    by_class: dict[str, dict[str, Difference]] = {}
    for index, name in enumerate(names):
        for score in SHOWN:
            one, other = (float(held[score][index]) for held in values)
            if not np.isfinite([one, other]).all():
                continue
            gaps = draws[1][score][:, index] - draws[0][score][:, index] if draws else np.array([])
            gaps = gaps[np.isfinite(gaps)]
            between = _two(np.percentile(gaps, (2.5, 97.5)).tolist()) if len(gaps) > DRAWS / 2 else None
            by_class.setdefault(name, {})[score] = Difference(one, other, between)
    return by_class


def _unpaired(one: ScoreRow, other: ScoreRow, why: str) -> Pair:
    """Return the recorded scores of two rows on one ground, without intervals."""
    scores = {name: Difference(value, other.scores[name]) for name, value in one.scores.items() if name in other.scores}
    theirs = {land_class.name: land_class for land_class in other.classes}
    classes: dict[str, dict[str, Difference]] = {}
    for land_class in one.classes:
        held = theirs[land_class.name].scores if land_class.name in theirs else {}
        for name, value in land_class.scores.items():
            second = held.get(name)
            if value is not None and second is not None and name not in UNRANKED:
                classes.setdefault(land_class.name, {})[name] = Difference(value, second)
    main = main_score(one)
    support = {land_class.name: land_class.support for land_class in one.classes}
    scores = ({main: scores[main]} if main in scores else {}) | scores
    return Pair(scores, classes, support, one.scored_on, (one.blocks, one.blocks, other.blocks), why)


def _blocks(record: Record, row: ScoreRow) -> dict[int, np.ndarray]:
    return read_blocks(record.path).get(row.name, {}) if (record.path / BLOCKS).is_file() else {}


def _same_truth(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two counts of a block are of the same labels: as many of every class, or the same sums of truth."""
    mine, theirs = (counts.sum(axis=1) if counts.ndim > 1 else counts[[0, 4, 5]] for counts in (one, other))
    return mine.shape == theirs.shape and bool(np.allclose(mine, theirs))


def _same_place(first: Record, second: Record) -> bool:
    """Tell whether block numbers mean the same: blocks of one size on the same shards."""
    own, others = (record.scores.split if record.scores else {} for record in (first, second))
    shards = first.config.get("shards")
    told = all(own.get(key) == others.get(key) for key in ("kind", "block_m"))
    return told and shards is not None and shards == second.config.get("shards")


def _names(record: ScoreRecord) -> list[str]:
    return [land_class["name"] for land_class in record.label_set.get("classes", [])]


def _two(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (bounds[0], bounds[1])
