"""Many scenes: finds them, shares them out over machines, and maps one after the other."""

import contextlib
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from bandloom.command_line.console import logger
from bandloom.errors import BandloomError, BundleError, BusyOutputError, OutputError, SceneError
from bandloom.export.bundle.bundle import Bundle, read_bundle
from bandloom.export.maps.feature_file import require_writable
from bandloom.export.predict.embeddings import check_packing, load_features
from bandloom.export.predict.map_scene import map_scene
from bandloom.export.predict.one_scene import predict_missing, predict_one, require_same_outputs
from bandloom.export.predict.options import MAP_SUFFIXES, PredictOptions, command_of, two_dates_opener
from bandloom.export.predict.tile_table import TABLE_SUFFIXES
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.runtimes.symmetry import symmetric
from bandloom.export.runtimes.verify import verify
from bandloom.files.library_errors import refusal_in

PAUSE_S = 1.0  # between two looks at scenes that another process is writing
T = TypeVar("T")


def predict_scenes(
    bundle_path: Path,
    sources: Sequence[str],
    out: Path,
    options: PredictOptions,
    part: str = "1/1",
    *,
    change: bool = False,
) -> Iterator[str]:
    """Map scenes, or what changed between two, and yield what to tell the user, a line at a time.

    With one scene ``out`` is a file; with several it is a folder, where scenes that have their output already are left
    alone, and a scene that fails does not stop the others.

    Raises:
        BandloomError: the bundle is refused, a single scene fails, the disk is full or closed to writing, or, at the
            end, any of several scenes failed.
    """
    if change and (len(sources) != 2 or out.suffix.lower() not in MAP_SUFFIXES):
        raise OutputError("--change takes two scenes, before and after, and --out a name that ends in .tif.")
    out_is_file = out.suffix.lower() in (*MAP_SUFFIXES, *TABLE_SUFFIXES)
    scenes = [sources[0]] if out_is_file and len(sources) == 1 else expand(sources)
    if out_is_file and len(share(scenes, part)) > 1 and not change:
        raise OutputError(f"{len(scenes)} scenes do not fit into the one file {out}; give --out a folder's name.")
    if options.polygons is not None:
        _check_polygons(options.polygons, out, change or not out_is_file)
    bundle = read_bundle(bundle_path)
    _check_dates(bundle, change=change)
    runner = verify(bundle, options.precision, threads=options.threads, runtime=options.runtime)
    runner = symmetric(runner, bundle.contract, options.symmetry)
    yield f"{bundle.record.name} on {runner.name}"
    encoder = load_features(bundle, options.threads)[1] if options.embeddings else None  # an error now, not after a map
    if encoder is None:
        check_packing(options, None)
    else:
        check_packing(options, encoder.embed_dim, bundle.record.files[encoder.file])
    if change and bundle.contract.dates > 1:
        opener, command = (
            two_dates_opener(sources[0], sources[1], options),
            command_of(bundle.path, sources, out, options),
        )
        yield from map_scene(bundle, runner, opener, out, options, command).lines()
    elif change:
        from bandloom.export.predict.change import map_change

        yield from map_change(bundle, runner, (sources[0], sources[1]), out, options)
    elif out_is_file:
        yield from predict_one(bundle, runner, share(scenes, part)[0], out, options)
    else:
        pairs = share(list(zip(scenes, targets(scenes, out, bundle), strict=True)), part)
        yield from _predict_each(bundle, runner, pairs, options)


def _check_polygons(polygons: Path, out: Path, several: bool) -> None:
    if several or out.suffix.lower() not in MAP_SUFFIXES:
        raise OutputError(
            "--polygons goes with one scene and --out MAP.tif; make those of other maps with: bandloom polygons MAP.tif"
            " --out OUT.gpkg."
        )
    require_writable(polygons)


def _check_dates(bundle: Bundle, *, change: bool) -> None:
    if bundle.contract.dates > 1 and not change:
        raise BundleError(
            f"the bundle {bundle.path} was trained on two dates of the same ground; name the earlier and the later"
            " scene: bandloom predict BUNDLE --change BEFORE AFTER --out MAP.tif."
        )


def _predict_each(
    bundle: Bundle, runner: Runner, pairs: Sequence[tuple[str, Path]], options: PredictOptions
) -> Iterator[str]:
    """Predict every scene into its own output; those that another process is writing come last, and are waited for."""
    for scene, target in pairs:
        if target.exists():
            with contextlib.suppress(SceneError):  # said when its turn comes
                require_same_outputs(bundle, scene, target, options)
    failed, left, waited = [], deque(pairs), 0
    while left:
        scene, target = left.popleft()
        existed = target.exists()
        try:
            yield from predict_missing(bundle, runner, scene, target, options)
            waited = 0
        except BandloomError as cause:
            if isinstance(cause, BusyOutputError) or (target.exists() and not existed):  # by another process
                left.append((scene, target))
                waited = _wait(waited + 1, len(left), cause)
            elif isinstance(cause, OutputError) and refusal_in(cause) is not None:
                raise  # the place takes no map of any scene
            else:
                logger.error("%s: %s", scene, cause)
                failed.append(scene)
    if failed:
        raise SceneError(
            f"{len(failed)} of {len(pairs)} scenes failed, the first one {failed[0]}; mend or leave them out and run"
            " the same command again, finished scenes are kept."
        )


def _wait(waited: int, left: int, cause: BandloomError) -> int:
    """Pause once every scene that is left was found busy; return how many were, in a row."""
    if waited < left:
        return waited
    if waited == left:
        logger.info("waiting: %s", cause)
    time.sleep(PAUSE_S)
    return waited


def expand(sources: Sequence[str]) -> list[str]:
    """Return scene paths: a .txt file is a list of them, a folder is a scene or holds scenes at any depth.

    Raises:
        SceneError: a list or folder names no scene.
    """
    from bandloom.shards.build.sources import find_sources  # which brings every corpus's reader

    paths: list[str] = []
    for source in sources:
        path = Path(source)
        if path.suffix.lower() == ".txt" and path.is_file():
            paths += _lines(path)
        else:
            paths += [source.path for source in find_sources([source])]
    if not paths:
        raise SceneError(f"{sources[0]} names no scene; list one path a line.")
    return paths


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as cause:
        raise SceneError(f"the list {path} cannot be read ({cause}); write one path a line, in UTF-8.") from cause


def share(scenes: Sequence[T], part: str) -> list[T]:
    """Return every n-th scene from the i-th on, for ``part`` "i/n".

    Raises:
        SceneError: ``part`` is not of that form, or i is not among 1..n.
    """
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", part)
    if match is None or int(match[1]) > int(match[2]):
        raise SceneError(f"--part is {part!r}; write it as i/n with i from 1 to n, such as 2/8.")
    return list(scenes[int(match[1]) - 1 :: int(match[2])])


def targets(scenes: Sequence[str], folder: Path, bundle: Bundle) -> list[Path]:
    """Return an output for each scene.

    Raises:
        OutputError: two scenes have the same name.
    """
    suffix = ".tif" if bundle.contract.makes_map else ".json"
    names = [Path(scene.rstrip("/")).stem for scene in scenes]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise OutputError(f"two scenes are called {twice[0]!r} and would share an output; map them into two folders.")
    return [folder / f"{name}{suffix}" for name in names]
