"""What the program makes of a scene before any work: each fact with who said it, and a small picture."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandloom.files.output import new_output
from bandloom.rasters.footprint import bbox_of, footprint
from bandloom.rasters.png import png
from bandloom.rasters.values import dn_to_reflectance, valid
from bandloom.shards.scenes import ALIGN_M, Scene, SceneOptions, open_scene

_WINDOW_M = 20 * ALIGN_M
_WINDOWS = 6  # along each side, at most
_PICTURE_PX = 512
_COMPOSITES = (("B04", "B03", "B02"), ("B08", "B04", "B03"), ("B8A", "B04", "B03"))
_ABSENT = (160, 32, 96, 255)
_B10 = "B10's lowest percentile"  # as offset.py writes it: decided from pixels, said by nobody


@dataclass(frozen=True)
class Finding:
    """One fact of a scene: what it is called, what it is, who said so, and whether anybody did."""

    name: str
    value: str
    said_by: str = ""
    assumed: bool = False

    def line(self) -> str:
        """Return it as a person reads it."""
        mark = "  ASSUMED" if self.assumed else ""
        return f"{self.name:<14} {self.value}{f'  ({self.said_by})' if self.said_by else ''}{mark}"


def inspect(source: str, options: SceneOptions, picture: Path | None = None) -> list[Finding]:
    """Open a scene and return what was found; with ``picture``, write a PNG of it too.

    Raises:
        BandloomError: it cannot be read, and why.
        OutputError: the picture exists already or cannot be written.
    """
    with open_scene(source, options) as scene:
        findings = [*_identity(scene, options), *_values(scene), *_place(scene), *_measured(scene)]
        if picture is not None:
            with new_output(picture) as temporary:
                temporary.write_bytes(png(_picture(scene)))
    return findings


def _identity(scene: Scene, options: SceneOptions) -> Iterator[Finding]:
    facts = scene.provenance
    product = facts.get("product")
    by = "--sensor" if options.sensor else "the product" if product else "its set of bands"
    level = "top of atmosphere" if scene.sensor.reflectance == "toa" else "surface"
    yield Finding("scene", scene.name, str(product or type(scene).__name__))
    yield Finding("sensor", f"{scene.sensor.name}, {level} reflectance", by)
    by = "--band-order" if options.band_map else "the product" if product else "names in the file or of the files"
    files = getattr(scene, "files", {})
    for group in scene.sensor.groups:
        yield Finding(f"bands {group.gsd_m} m", ", ".join(_band(band.name, files) for band in group.bands), by)
    if facts.get("left_out"):
        yield Finding("left out", ", ".join(facts["left_out"]), "no bands of this sensor")


def _band(name: str, files: dict[str, tuple[str, int]]) -> str:
    if name not in files:
        return name
    file, index = files[name]
    return f"{name}={Path(file).name}:{index}"


def _values(scene: Scene) -> Iterator[Finding]:
    facts = scene.provenance
    if "scale" in facts:
        scale = facts["scale"]
        gain, offset = scale if isinstance(scale, list) else next(iter(scale.values()))
        yield Finding("reflectance", f"{gain:g} * value {offset:+g}", str(facts["scale_from"]))
    elif "offset" in facts:
        by = str(facts["offset_from"])
        yield Finding("reflectance", f"(value {facts['offset']:+d}) / 10000", by, assumed=by == _B10)
    else:
        yield Finding("reflectance", "band by band", "the product's metadata")
    if facts.get("processing_baseline"):
        yield Finding("baseline", str(facts["processing_baseline"]), "the product")


def _place(scene: Scene) -> Iterator[Finding]:
    facts = scene.provenance
    time = scene.datetime.isoformat() if scene.datetime else "not stated"
    by = facts.get("time_from", "the product or a tag of acquisition")
    yield Finding("date", time, str(by) if scene.datetime else "")
    yield Finding("crs", scene.crs.to_string(), f"warped from {facts['warped_from']}" if "warped_from" in facts else "")
    yield Finding(
        "size", f"{scene.width_m:g} x {scene.height_m:g} m, corner {scene.transform.c:g} {scene.transform.f:g}"
    )
    gsd_m = scene.transform.a
    shape = (round(scene.height_m / gsd_m), round(scene.width_m / gsd_m))
    west, south, east, north = bbox_of(footprint(scene.crs, scene.transform, shape))
    yield Finding("degrees", f"west {west:.5f} south {south:.5f} east {east:.5f} north {north:.5f}")


def _measured(scene: Scene) -> Iterator[Finding]:
    """Look at windows spread over the scene: what share was measured, clouded, and how bright every band is."""
    seen: dict[str, list[np.ndarray]] = {}
    shares, clouds = [], []
    for window in _windows(scene):
        cloud = scene.cloud(window)
        groups = scene.read(window)
        known = valid(groups[min(groups)]).all(0)
        shares.append(float(known.mean()) * window[2] * window[3] / _inside_m2(scene, window))
        if cloud is not None:
            clouds.append(float(cloud.mean()))
        for group in scene.sensor.groups:
            for band, pixels in zip(group.bands, groups[group.gsd_m], strict=True):
                seen.setdefault(band.name, []).append(dn_to_reflectance(pixels[valid(pixels)]))
    yield Finding("measured", f"{np.mean(shares):.1%}", f"{len(shares)} windows of 1.2 km")
    told = f"{np.mean(clouds):.1%}" if clouds else "not said by the source"
    yield Finding("cloud", told, "the source's mask" if clouds else "")
    for name, parts in seen.items():
        values = np.concatenate(parts)
        said = " ".join(f"{value:.4f}" for value in np.percentile(values, (2, 50, 98))) if values.size else "absent"
        yield Finding(f"  {name}", said, "2, 50 and 98 % of its reflectance")


def _windows(scene: Scene) -> Iterator[tuple[float, float, float, float]]:
    width, height = (math.ceil(side / ALIGN_M) * ALIGN_M for side in (scene.width_m, scene.height_m))
    wide, high = min(_WINDOW_M, width), min(_WINDOW_M, height)
    for y in _starts(height, high):
        for x in _starts(width, wide):
            yield x, y, wide, high


def _starts(length_m: int, window_m: int) -> list[int]:
    count = min(_WINDOWS, math.ceil(length_m / window_m))
    return sorted({round(at / ALIGN_M) * ALIGN_M for at in np.linspace(0, length_m - window_m, count)})


def _inside_m2(scene: Scene, window: tuple[float, float, float, float]) -> float:
    x, y, width, height = window
    return max(1.0, min(width, scene.width_m - x)) * max(1.0, min(height, scene.height_m - y))


def _picture(scene: Scene) -> np.ndarray:
    """Return ``(H, W, 4)`` uint8: the scene in true colour, or in infrared where it has no blue; absent in red."""
    slots = next(
        (composite for composite in _COMPOSITES if set(composite) <= set(scene.sensor.slots)),
        scene.sensor.slots[:1] * 3,
    )
    group = next(g for g in scene.sensor.groups if slots[0] in g.slots)
    step = max(1, math.ceil(max(scene.width_m, scene.height_m) / group.gsd_m / _PICTURE_PX))
    width_m = math.ceil(scene.width_m / ALIGN_M) * ALIGN_M
    rows = []
    for top in range(0, math.ceil(scene.height_m), _WINDOW_M):
        groups = scene.read((0, top, width_m, _WINDOW_M))
        rows.append(_layers(scene, groups, slots, group.gsd_m, step, top))
    pixels = np.concatenate(rows, 1)[:, : math.ceil(scene.height_m / group.gsd_m / step)]
    known = np.isfinite(pixels).all(0)
    rgba = np.empty((*known.shape, 4), np.uint8)
    rgba[..., 3] = 255
    for layer, values in enumerate(pixels):
        low, high = np.percentile(values[known], (2, 98)) if known.any() else (0, 1)
        shown = np.clip((values - low) / max(high - low, 1e-6), 0, 1) ** 0.8
        rgba[..., layer] = np.where(known, np.nan_to_num(shown) * 255, 0).astype(np.uint8)
    rgba[~known] = _ABSENT
    return rgba


def _layers(
    scene: Scene, groups: dict[int, np.ndarray], slots: tuple[str, ...], gsd_m: int, step: int, top_m: int
) -> np.ndarray:
    """Return ``(3, h, w)`` reflectance of a strip, every ``step``-th sample from the scene's first on."""
    first = -(top_m // gsd_m) % step
    layers = []
    for slot in slots:
        group = next(g for g in scene.sensor.groups if slot in g.slots)
        band = dn_to_reflectance(groups[group.gsd_m][group.slots.index(slot)])
        factor = max(1, group.gsd_m // gsd_m)
        layers.append(band.repeat(factor, 0).repeat(factor, 1)[first::step, ::step])
    return np.stack(layers)
