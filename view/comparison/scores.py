"""The verdict on two scored runs: which is better on what, with intervals; score by score and class by class."""

from collections.abc import Sequence

from bandloom.scores import TITLES, figure
from bandloom.view.comparison.compared import Compared
from bandloom.view.comparison.paired import LESS_IS_BETTER, UNRANKED, Difference, Pair
from bandloom.view.sections.parts import Section, Table, table


def verdicts(group: Compared) -> list[Section]:
    """Return a verdict on every run beside the first; empty of what is not scored."""
    return [
        Section(title, verdict=both) if isinstance(both, str) else Section(title, verdict=verdict(both, names))
        for title, names, both in group.pairs
    ]


def tables(group: Compared) -> list[Section]:
    """Return every run's scores beside the first one's, with the ground they were taken on."""
    return [
        Section(f"Scores: {title}", ground(both), tables=_scores(both, names))
        for title, names, both in group.pairs
        if not isinstance(both, str)
    ]


def classes(group: Compared) -> list[Section]:
    """Return every run's classes beside the first one's."""
    return [
        Section(f"Class by class: {title}", tables=_classes(both, names))
        for title, names, both in group.pairs
        if not isinstance(both, str)
    ]


def verdict(both: Pair, names: tuple[str, str]) -> str:
    """Return one or two sentences: who is ahead by the score that decides, and on what else."""
    score, main = next(iter(both.scores.items()))
    side = better(score, main)
    ahead = 0 if side < 0 else 1
    values = (main.first, main.second) if ahead == 0 else (main.second, main.first)
    gap = -main.gap if ahead == 0 else main.gap
    pair = " against ".join(figure(score, value) for value in values)
    figures = f"{title_of(score)} {pair}, {figure(score, gap, sign='+')}{_between(score, main, ahead)}"
    if both.why:
        if main.gap == 0:
            return f"{names[0]} and {names[1]} are level: {figures}; {both.why}."
        return f"{names[ahead]} scores {'better' if side else 'other'} than {names[1 - ahead]}: {figures}; {both.why}."
    if not side:
        told = f"Not shown to differ: {names[1]} beside {names[0]}, {figures}, which holds zero."
    else:
        told = f"{names[ahead]} is better than {names[1 - ahead]}: {figures}."
    return told + _others(both, score, ahead, names)


def better(score: str, difference: Difference) -> int:
    """Return 1 where the second is better, -1 where the first is, 0 where neither is shown to be.

    Without an interval the sign of the difference decides.
    """
    low, high = difference.interval or (difference.gap, difference.gap)
    sign = 1 if low > 0 else -1 if high < 0 else 0
    return -sign if score in LESS_IS_BETTER else sign


def ground(both: Pair) -> str:
    """Return on what ground the scores were taken, and what the interval does and does not speak of."""
    shared, one, other = both.blocks
    part = "" if shared == one == other else f" of the {one:,} and {other:,} that tested each"
    said = f"On the {both.labels:,} labels in {shared:,} blocks of ground that tested both{part}."
    if both.why:
        return said
    return (
        f"{said} Intervals of 95 %: the same blocks drawn for both, {both.draws:,} times. They speak of the ground;"
        " each run is one training, and other seeds would move both."
    )


def title_of(score: str) -> str:
    """Return what people call a score."""
    return TITLES.get(score, score.replace("_", " "))


def _others(both: Pair, main: str, ahead: int, names: tuple[str, str]) -> str:
    """Return on which other scores the run that is ahead is better, worse, or not shown to differ."""
    sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for score, difference in both.scores.items():
        if score != main and score not in UNRANKED:
            side = better(score, difference)
            sides[side if ahead == 1 else -side].append(title_of(score))
    words = ((1, "better on"), (-1, "worse on"), (0, "not shown to differ on"))
    told = [f"{word} {', '.join(sides[side])}" for side, word in words if sides[side]]
    return f" {names[ahead]} is {'; '.join(told)}." if told else ""


def _between(score: str, difference: Difference, ahead: int) -> str:
    if difference.interval is None:
        return ""
    low, high = difference.interval if ahead == 1 else (-difference.interval[1], -difference.interval[0])
    return f" (95 % interval {figure(score, low, sign='+')} to {figure(score, high, sign='+')})"


def _scores(both: Pair, names: tuple[str, str]) -> list[Table]:
    rows = [[title_of(score), *_cells(score, difference)] for score, difference in both.scores.items()]
    return table(("score", *names, "2 less 1", "95 % interval"), rows)


def _classes(both: Pair, names: tuple[str, str]) -> list[Table]:
    shown = list(dict.fromkeys(score for held in both.classes.values() for score in held))[:2]
    head = ["class", "labels"]
    for score in shown:
        head += [f"{title_of(score)} of {name.partition(':')[0]}" for name in names]
        head += ["difference", "95 % interval"]
    rows = [
        [name, both.support.get(name, 0), *(cell for score in shown for cell in _cells(score, held.get(score)))]
        for name, held in both.classes.items()
    ]
    return table(head, rows)


def _cells(score: str, difference: Difference | None) -> Sequence[object]:
    if difference is None:
        return (None, None, None, "")
    low_high = difference.interval
    between = " to ".join(figure(score, bound, sign="+") for bound in low_high or ())
    return difference.first, difference.second, figure(score, difference.gap, sign="+"), between
