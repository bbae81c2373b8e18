"""``bandloom shards build``: units of work, journalled when their tars are whole, so that a stopped build goes on."""

import ctypes
import errno
import fcntl
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bandloom.command_line.console import logger, track
from bandloom.errors import OutputError, ShardError
from bandloom.files.output import sync, sync_entry, write_json
from bandloom.shards.build.finalize import finalize
from bandloom.shards.build.plan import BuildOptions, Plan, make_plan
from bandloom.shards.build.unit import run_unit

_PLAN = "plan.json"


def workplace(out: Path) -> Path:
    """Return the folder a build of ``out`` works in, beside it, until it is whole."""
    return out.with_name(f".{out.name}.building")


def build(
    paths: Sequence[str],
    out: Path,
    options: BuildOptions,
    *,
    part: tuple[int, int] = (0, 1),
    workers: int = 1,
    finish: bool = True,
) -> None:
    """Shard the scenes under ``paths`` into ``out``; an interrupted build called again goes on and gives equal bytes.

    Args:
        paths: scenes, or folders of scenes.
        out: the folder to make; must not exist.
        options: how scenes become samples.
        part: (i, n): do every n-th unit from number i, counted from 0, as one of n machines that share the disk.
        workers: processes.
        finish: merge and put ``out`` in place; with parts, leave that to :func:`finish_build`.

    Raises:
        BandloomError: the input or the place cannot be used; nothing is left under ``out``.
    """
    _require_new(out)
    build_plan(make_plan(paths, options), out, part=part, workers=workers, finish=finish)


def build_plan(plan: Plan, out: Path, *, part: tuple[int, int] = (0, 1), workers: int = 1, finish: bool = True) -> None:
    """Shard the sources of a plan, as :func:`build` does with the one that it makes.

    Raises:
        BandloomError: the sources or the place cannot be used; nothing is left under ``out``.
    """
    _require_new(out)
    place = workplace(out)
    fresh = not place.exists()
    try:
        _open_place(place, plan)
        with _Journal(place / f"journal-{part[0]:05d}.jsonl") as journal:
            done = {record["unit"] for record in read_journals(place)}
            mine = [unit for unit in range(part[0], len(plan.units), part[1]) if unit not in done]
            _sweep(place, mine)
            tally = _Tally()
            for record in track(_results(plan, mine, place, workers), "units", len(mine), note=tally.__str__):
                journal.add(record)
                tally.add(record)
            tally.say_unlabelled()
        if finish:
            finish_build(out)
    except OSError as cause:
        raise _disk_error(cause, out) from cause
    except ShardError:
        if fresh and finish:
            shutil.rmtree(place, ignore_errors=True)
        raise


def _require_new(out: Path) -> None:
    if out.exists():
        raise OutputError(f"the output {out} exists already; choose another name, or remove it first.")


def finish_build(out: Path) -> None:
    """Merge what all parts built, write the manifest last, and put the folder in place.

    Raises:
        ShardError: there is no build of ``out`` under way, or some of its units are missing.
    """
    place = workplace(out)
    if not (place / _PLAN).is_file():
        raise ShardError(f"no build of {out} is under way; run bandloom shards build ... --out {out} first.")
    record = json.loads((place / _PLAN).read_text())
    journals = {journal["unit"]: journal for journal in read_journals(place)}
    missing = [unit for unit in range(len(record["plan"]["units"])) if unit not in journals]
    if missing:
        raise ShardError(
            f"{len(missing)} units of {out} are not built yet (the first is {missing[0]}); run their part."
        )
    _sweep(place, [])
    bad = finalize(place, record["plan"], [journals[unit] for unit in sorted(journals)])
    for path in (*place.glob("journal-*.jsonl"), place / _PLAN):
        path.unlink()
    sync(place)
    os.rename(place, out)
    sync_entry(out.parent)
    if bad:
        logger.warning("%d sources could not be used; %s says why", bad, out / "quarantine.jsonl")


def parse_part(text: str) -> tuple[int, int]:
    """Read ``I/N`` (``1/4`` is the first of four) as (0, 4); an empty text is the whole.

    Raises:
        ShardError: it is no such pair.
    """
    try:
        number, count = (int(part) for part in (text or "1/1").split("/"))
    except ValueError:
        number, count = 0, 0
    if not 1 <= number <= count:
        raise ShardError(f"--part {text!r} is not understood; write I/N with I from 1 to N, such as 1/4.")
    return number - 1, count


def read_journals(place: Path) -> list[dict[str, Any]]:
    """Return the records of all whole units; a line cut short by a crash counts as not done."""
    records = []
    for path in sorted(place.glob("journal-*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
    return records


class _Tally:
    """What this call has built so far."""

    def __init__(self) -> None:
        self._scenes = self._failed = self._samples = self._bytes = 0
        self._unlabelled_px: Counter[str] = Counter()
        self._said: set[str] = set()

    def add(self, record: dict[str, Any]) -> None:
        self._scenes += len(record["provenance"])
        self._failed += len(record["quarantine"])
        self._samples += sum(tar["samples"] for tar in record["tars"])
        self._bytes += sum(tar["bytes"] for tar in record["tars"])
        self._unlabelled_px += Counter(record["unlabelled_px"])
        for note in record["label_notes"]:
            if note not in self._said:  # a file that labels many scenes says it for each
                logger.warning("%s", note)
                self._said.add(note)

    def say_unlabelled(self) -> None:
        """Say how many pixels the labels leave without a class, by reason."""
        if self._unlabelled_px:
            told = ", ".join(f"{count:,} ({reason})" for reason, count in self._unlabelled_px.most_common())
            logger.info("pixels without a label: %s", told)

    def __str__(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._scenes} scenes{failed}, {self._samples:,} samples, {self._bytes / 1e9:.2f} GB"


class _Journal:
    """Appends one synced line a finished unit."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            self._file.close()
            raise OutputError(f"another process builds this part already ({path}); wait for it, or stop it.") from cause
        except OSError:
            logger.debug("the file system of %s has no locks", path)
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            self._file.write("\n")

    def add(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "_Journal":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _open_place(place: Path, plan: Plan) -> None:
    """Make the work folder, or check that the build in it is this one."""
    place.mkdir(parents=True, exist_ok=True)
    marker = place / _PLAN
    if not marker.exists():
        write_json(marker, {"digest": plan.digest, "plan": plan.to_dict()})
    elif json.loads(marker.read_text())["digest"] != plan.digest:
        raise OutputError(
            f"{place} holds an unfinished build from other sources or options; repeat that command to finish it, or"
            " remove the folder."
        )


def _sweep(place: Path, units: Sequence[int]) -> None:
    """Remove temporary files, and what a crash left of these units."""
    for path in place.glob(".*.tmp*"):
        if not units or int(path.name[1:6]) in units if path.name[1:6].isdigit() else True:
            path.unlink(missing_ok=True)
    for unit in units:
        for path in place.glob(f"{unit:05d}-*"):
            path.unlink()


def _results(plan: Plan, units: Sequence[int], place: Path, workers: int) -> Iterator[dict[str, Any]]:
    if workers <= 1 or len(units) <= 1:
        for unit in units:
            yield run_unit(plan, unit, place)
        return
    with ProcessPoolExecutor(min(workers, len(units)), get_context("spawn"), _die_with_parent, (os.getpid(),)) as pool:
        yield from pool.map(run_unit, [plan] * len(units), units, [place] * len(units))


def _die_with_parent(parent: int) -> None:
    """End this worker when its build is killed: it must not write beside the build that goes on after it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def _disk_error(cause: OSError, out: Path) -> Exception:
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"the disk is full while writing {out}; free some space and run the same command: it goes on."
        )
    if cause.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return OutputError(f"{out} cannot be written ({cause.strerror}); choose another place.")
    return cause
