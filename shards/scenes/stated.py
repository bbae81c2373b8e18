"""Stated metadata of files: time, offset and scale, and by which tag."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from bandloom.command_line.console import logger
from bandloom.errors import SceneError
from bandloom.shards.scenes.options import SceneOptions, one_ten_thousandth

Scaling = dict[str, tuple[float, float]]  # band -> gain and offset from stored value to reflectance
# TIFFTAG_DATETIME is when the file was written, never when the ground was seen
_TIME_KEYS = ("ACQUISITION_TIME", "ACQUISITIONDATETIME", "ACQUISITION_DATETIME", "datetime", "date")
_FIRST = datetime(1972, 7, 23, tzinfo=UTC)  # Landsat 1 was launched; earlier ones stand for none, such as 1970
_DATE_FORMS = ("%Y:%m:%d %H:%M:%S", "%Y%m%dT%H%M%S", "%Y%m%d", "%Y-%m-%d %H:%M:%S UTC")


@dataclass(frozen=True)
class Stated:
    """What a product's metadata says of itself: its offset and by what, its time, and facts for the provenance."""

    offset: int | None = None
    offset_from: str = "RADIO_ADD_OFFSET"
    time: datetime | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


def stated_by_tags(raster: Any) -> Stated:
    """Return what a raster's own tags say: RADIO_ADD_OFFSET, and the time of acquisition.

    Raises:
        SceneError: the offset is no whole number.
    """
    tags = raster.tags()
    offset = tags.get("RADIO_ADD_OFFSET")
    time = _time_of(tags | raster.tags(ns="IMAGERY"), raster.name)
    return Stated(None if offset is None else _whole(offset, raster.name), time=time)


def _whole(text: str, name: str) -> int:
    """Return the number in a tag RADIO_ADD_OFFSET.

    Raises:
        SceneError: it is no whole number.
    """
    try:
        return whole_offset(text)
    except ValueError:
        raise SceneError(
            f"{name} says RADIO_ADD_OFFSET {text!r}, which is no whole number; mend the tag (gdal_edit.py -mo"
            f" RADIO_ADD_OFFSET=-1000 {name}), with 0 where nothing was added."
        ) from None


def whole_offset(text: str) -> int:
    """Return the whole number that a text holds.

    Raises:
        ValueError: it holds none; the message is the text, quoted.
    """
    try:
        number = float(text)
    except ValueError:
        raise ValueError(repr(text)) from None
    if not number.is_integer():
        raise ValueError(repr(text))
    return int(number)


def scaling_of(
    name: str, bands: Mapping[str, tuple[Any, str, int]], options: SceneOptions, stated: Stated
) -> tuple[Stated, Scaling | None]:
    """Return what is stated of the offset, and each band's scaling where it is not that of 10000 x reflectance.

    The user's ``--scale`` stands before the files' scale and offset tags; both stand before RADIO_ADD_OFFSET, which
    must not contradict them.

    Raises:
        SceneError: tags contradict each other, or the user's --offset.
    """
    if options.gain_and_offset is not None:
        return _as_told(bands, *options.gain_and_offset, "--scale", stated)
    tagged = {band: (raster.scales[index - 1], raster.offsets[index - 1]) for band, (raster, _, index) in bands.items()}
    if all(scale == (1.0, 0.0) for scale in tagged.values()):
        return stated, None
    for band, scale in tagged.items():
        if not (math.isfinite(scale[0]) and math.isfinite(scale[1]) and scale[0] > 0):
            raise SceneError(
                f"{name} states {_words(*scale)} for {band}, which makes no reflectance; mend the tags (gdal_edit.py"
                " -scale 0.0001 -offset 0 FILE), or pass --scale GAIN,OFFSET."
            )
    bare = [band for band, scale in tagged.items() if scale == (1.0, 0.0)]
    if bare:
        raise SceneError(
            f"{name} states a scale for some bands ({_words(*_other(tagged))}) and none for {', '.join(bare)}; state it"
            " for all, or pass --scale GAIN,OFFSET."
        )
    by = "the file's scale and offset tags"
    usual = {one_ten_thousandth(*scale) for scale in tagged.values()}
    if len(usual) == 1 and (added := usual.pop()) is not None:
        if options.offset is None and stated.offset not in (None, added):
            raise SceneError(
                f"{name} states {_words(*next(iter(tagged.values())))} and RADIO_ADD_OFFSET {stated.offset}, which"
                " contradict each other; pass --offset -1000 when its values carry +1000, or --offset 0."
            )
        return replace(stated, offset=added, offset_from=by), None
    if options.offset not in (None, 0) or stated.offset not in (None, 0):
        raise SceneError(
            f"{name} states {_words(*next(iter(tagged.values())))}, so an offset of {options.offset or stated.offset}"
            " to 10000 x reflectance does not fit it; pass --scale GAIN,OFFSET instead."
        )
    facts = {"scale": {band: list(scale) for band, scale in tagged.items()}, "scale_from": by}
    return replace(stated, provenance=stated.provenance | facts), tagged


def _as_told(
    bands: Mapping[str, Any], gain: float, offset: float, by: str, stated: Stated
) -> tuple[Stated, Scaling | None]:
    facts = {"scale": [gain, offset], "scale_from": by}
    return replace(stated, provenance=stated.provenance | facts), dict.fromkeys(bands, (gain, offset))


def _other(tagged: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    return next(scale for scale in tagged.values() if scale != (1.0, 0.0))


def _words(gain: float, offset: float) -> str:
    return f"scale {gain:g} and offset {offset:g}"


def _time_of(tags: Mapping[str, str], name: str) -> datetime | None:
    """Return the time of acquisition; one that is stated and cannot be one is warned of."""
    unread: list[str] = []
    for key in _TIME_KEYS:
        text = tags.get(key, "").strip().replace("Z", "+00:00")
        for parse in (
            datetime.fromisoformat,
            *(lambda t, form=form: datetime.strptime(t, form) for form in _DATE_FORMS),
        ):
            try:
                time = parse(text)
            except ValueError:
                continue
            time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
            if time >= _FIRST:
                return time
            break
        if text.lower() not in ("", "null", "none"):
            unread.append(f"{key} {tags[key]!r}")
    if unread:
        logger.warning(
            "%s says %s, which is no date of a scene: its date is not known; write it as 2024-06-30T10:20:30",
            name,
            " and ".join(unread),
        )
    return None
