"""One scene or many: finds them, shares them out over machines, and maps one after the other."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bandloom.console import logger
from bandloom.errors import BandloomError, BundleError, OutputError, SceneError
from bandloom.export.bundle.bundle import Bundle, read_bundle
from bandloom.export.predict.embeddings import load_features
from bandloom.export.predict.map_scene import MAP_SUFFIXES, PredictOptions, map_scene, two_dates_opener
from bandloom.export.predict.one_scene import predict_one
from bandloom.export.predict.tile_table import TABLE_SUFFIXES
from bandloom.export.runtimes.onnx_runner import Runner
from bandloom.export.runtimes.verify import verify
from bandloom.shards.build.sources import find_sources


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
        BandloomError: the bundle is refused, a single scene fails, or, at the end, any of several did.
    """
    if change and (len(sources) != 2 or out.suffix.lower() not in MAP_SUFFIXES):
        raise OutputError("--change takes two scenes, before and after, and --out a name that ends in .tif.")
    out_is_file = out.suffix.lower() in (*MAP_SUFFIXES, *TABLE_SUFFIXES)
    scenes = [sources[0]] if out_is_file and len(sources) == 1 else share(expand(sources), part)
    if out_is_file and len(scenes) > 1 and not change:
        raise OutputError(f"{len(scenes)} scenes do not fit into the one file {out}; give --out a folder's name.")
    bundle = read_bundle(bundle_path)
    _check_dates(bundle, change=change)
    runner = verify(bundle, options.precision, threads=options.threads, runtime=options.runtime)
    yield f"{bundle.record.name} on {runner.name}"
    if options.embeddings:
        load_features(bundle, options.threads)  # an error now rather than after the first map
    if change and bundle.contract.dates > 1:
        yield from map_scene(bundle, runner, two_dates_opener(sources[0], sources[1], options), out, options).lines()
    elif change:
        from bandloom.export.predict.change import map_change

        yield from map_change(bundle, runner, (sources[0], sources[1]), out, options)
    elif out_is_file:
        yield from predict_one(bundle, runner, scenes[0], out, options)
    else:
        yield from _predict_into(bundle, runner, scenes, out, options)


def _check_dates(bundle: Bundle, *, change: bool) -> None:
    if bundle.contract.dates > 1 and not change:
        raise BundleError(
            f"the bundle {bundle.path} was trained on two dates of the same ground; name the earlier and the later"
            " scene: bandloom predict BUNDLE --change BEFORE AFTER --out MAP.tif."
        )


def _predict_into(
    bundle: Bundle, runner: Runner, scenes: Sequence[str], folder: Path, options: PredictOptions
) -> Iterator[str]:
    failed = []
    for scene, target in zip(scenes, targets(scenes, folder, bundle), strict=True):
        if target.exists():
            yield f"{target}: there already, left alone"
            continue
        try:
            yield from predict_one(bundle, runner, scene, target, options)
        except BandloomError as cause:
            logger.error("%s: %s", scene, cause)
            failed.append(scene)
    if failed:
        raise SceneError(
            f"{len(failed)} of {len(scenes)} scenes failed, the first one {failed[0]}; mend or leave them out and run"
            " the same command again, finished scenes are kept."
        )


def expand(sources: Sequence[str]) -> list[str]:
    """Return scene paths: a .txt file is a list of them, a folder is a scene or holds scenes at any depth.

    Raises:
        SceneError: a list or folder names no scene.
    """
    found: list[str] = []
    for source in sources:
        path = Path(source)
        if path.suffix.lower() == ".txt" and path.is_file():
            found += [line.strip() for line in path.read_text().splitlines() if line.strip()]
        else:
            found += [each.path for each in find_sources([source])]
    if not found:
        raise SceneError(f"{sources[0]} names no scene; list one path a line.")
    return found


def share(scenes: Sequence[str], part: str) -> list[str]:
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
