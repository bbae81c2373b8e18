"""A cache of what was decided of a scene's values (scale, offset), for other handles of the same unchanged files.

A map opens its scene once to check it and once a reader; looking at thinned values of every band each time took a third
of a small map's own processor time.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from threading import Lock

_MOST = 8  # scenes; the longest unused go first
_BESIDE = ("", ".msk", ".aux.xml", ".ovr")  # what GDAL reads with a raster
_KEPT: OrderedDict[Hashable, tuple[int, dict[str, object]]] = OrderedDict()
_LOCK = Lock()


def decided_once(
    files: Iterable[str], asked: Hashable, decide: Callable[[], tuple[int, dict[str, object]]]
) -> tuple[int, dict[str, object]]:
    """Return what ``decide`` returns, or returned before of these files in this process.

    Args:
        files: of the scene; where one is no plain local file of its own pixels, nothing is kept.
        asked: all else that the decision depends on.
        decide: returns the offset and what the scene's provenance says of it; what it raises is not kept.
    """
    state = _state(sorted(set(files)))
    if state is None:
        return decide()
    with _LOCK:
        kept = _KEPT.get((state, asked))
    if kept is None:
        kept = decide()
    with _LOCK:
        _KEPT[state, asked] = kept
        _KEPT.move_to_end((state, asked))
        while len(_KEPT) > _MOST:
            _KEPT.popitem(last=False)
    return kept


def _state(files: list[str]) -> Hashable:
    """Return sizes and times of change of files and of those beside them; None where these do not tell."""
    told: list[tuple[str, int, int, int]] = []
    for file in files:
        if file.lower().endswith(".vrt") or not Path(file).is_file():
            return None
        for beside in (Path(file + suffix) for suffix in _BESIDE):
            if beside.exists():
                state = beside.stat()
                told.append((str(beside.resolve()), state.st_ino, state.st_size, state.st_mtime_ns))
    return tuple(told)
