"""``bandloom labels suggest``: points of a scene whose labels would help most, as a file for the labelling page."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from rasterio.transform import Affine

from bandloom.command_line.config import Config
from bandloom.command_line.console import logger
from bandloom.command_line.options import Option
from bandloom.errors import SceneError
from bandloom.export.assess.write_points import FORMATS, Points, write_points
from bandloom.export.bundle.bundle import read_bundle
from bandloom.export.bundle.tiling import MAP_PIXEL_M
from bandloom.export.maps.feature_file import require_writable
from bandloom.export.predict.options import PredictOptions, scene_opener
from bandloom.export.runtimes.symmetry import symmetric
from bandloom.export.runtimes.verify import verify
from bandloom.export.suggest.candidates import candidates_of, spectra_at
from bandloom.export.suggest.choose import POOL, far_from, spread, thinned
from bandloom.files.output import sole_writer
from bandloom.files.points_file import read_points_file
from bandloom.rasters.projected import projected


class SuggestOptions(Config):
    """How many points, and how far apart."""

    n: int = Field(default=50, gt=0, description="points to suggest")
    apart_m: Annotated[float, Option("Least distance between two points, and from labelled ones, in metres.")] = Field(
        default=200.0, gt=0
    )
    labelled: Path | None = Field(
        default=None, description="points that have labels already: .gpkg, .geojson or .csv; their ground is left out"
    )
    seed: int = Field(default=0, ge=0, description="of the draw: the same seed suggests the same points")


def suggest(bundle_path: Path, scene: str, out: Path, wanted: SuggestOptions, options: PredictOptions) -> Iterator[str]:
    """Write the points and yield what to tell the user.

    Raises:
        BandloomError: the bundle, the scene or the labelled points cannot be used, or the output cannot be written.
    """
    require_writable(out, FORMATS)
    with sole_writer(out):
        yield from _suggest(bundle_path, scene, out, wanted, options)


def _suggest(
    bundle_path: Path, scene: str, out: Path, wanted: SuggestOptions, options: PredictOptions
) -> Iterator[str]:
    labelled = read_points_file(wanted.labelled).places if wanted.labelled else np.zeros((0, 2))
    bundle = read_bundle(bundle_path)
    runner = verify(bundle, options.precision, threads=options.threads, runtime=options.runtime)
    runner = symmetric(runner, bundle.contract, options.symmetry)
    opener = scene_opener(scene, options)
    candidates = candidates_of(bundle.contract, runner, opener, options)
    with opener() as opened:
        crs, grid = (
            opened.crs,
            opened.transform * Affine.scale(MAP_PIXEL_M / min(group.gsd_m for group in opened.sensor.groups)),
        )
        size_m = (opened.width_m, opened.height_m)
    taken = _in_map(labelled, crs, grid)
    candidates = candidates.some(thinned(candidates.xy, candidates.worth, wanted.apart_m))
    candidates = candidates.some(far_from(candidates.xy, taken, wanted.apart_m))
    candidates = candidates.some(np.arange(len(candidates.rows)) < POOL * wanted.n)
    if not len(candidates.rows):
        raise SceneError(
            f"{scene} has no measured place that is {wanted.apart_m:g} m from every labelled point and of which the"
            " model is unsure; lower --apart-m, or take another scene."
        )
    spectra = partial(spectra_at, opener)
    inside = taken[((taken >= 0) & (taken < size_m)).all(axis=1)].astype(np.int64) // MAP_PIXEL_M
    seen = spectra(inside[:, 1], inside[:, 0]) if len(inside) else None
    if len(labelled) and not len(inside):
        logger.warning(
            "none of the %d points of %s lies in %s; are longitude and latitude the right way round?",
            len(labelled),
            wanted.labelled,
            scene,
        )
    chosen = spread(
        candidates.xy,
        candidates.worth,
        spectra(candidates.rows, candidates.columns),
        wanted.n,
        wanted.apart_m,
        wanted.seed,
        seen,
    )
    picked = candidates.some(chosen)
    xs, ys = grid * (picked.columns + 0.5, picked.rows + 0.5)  # pyright: ignore[reportOperatorIssue]
    columns = {
        "id": np.arange(1, len(chosen) + 1),
        "class": np.full(len(chosen), None, object),
        f"{candidates.measure}_percent": np.rint(picked.worth * 100).astype(np.int64),
    }
    write_points(out, Points(crs, np.stack([xs, ys], axis=1), columns))
    yield f"{out}: {len(chosen)} places, chosen by {_WORDS[candidates.measure]} and by how their spectra differ"
    if candidates.measure == "entropy":
        yield (
            "of one model alone: by its entropy suggested labels taught less than random ones in our trials; suggest"
            " with an ensemble (bandloom export RUN --ensemble), or draw points with bandloom assess sample"
        )
    if len(chosen) < wanted.n:
        yield f"{wanted.n} were asked for; no more lie {wanted.apart_m:g} m apart"
    yield (
        f"label them with: bandloom view MAP.tif --scene {scene} --label {out}; they are no random sample, so use them"
        " to train and never to assess"
    )


_WORDS = {"disagreement": "how much the ensemble's members disagree", "entropy": "entropy"}


def _in_map(places: np.ndarray, crs: object, grid: Affine) -> np.ndarray:
    """Return longitudes and latitudes ``(M, 2)`` in metres from the map's upper-left corner."""
    if not len(places):
        return np.zeros((0, 2))
    columns, rows = ~grid * projected("EPSG:4326", crs, *places.T)  # pyright: ignore[reportOperatorIssue]
    return np.stack([columns, rows], axis=1) * MAP_PIXEL_M
