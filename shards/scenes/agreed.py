"""What the files of one scene say together: their tags, and the times in their names."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bandloom.errors import SceneError
from bandloom.shards.scenes.stated import Stated, stated_by_tags

# S2A_MSIL2A_20230605T101559_N0509_R065_T33UUP_20230605T161234: the product's own name, which ends with another time
_OF_PRODUCT = re.compile(r"(?:^|_)S2[A-D]_MSIL\d[A-C]_(\d{8}T\d{6})_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}(?:_|$)")
# T33UUU_20170216T102101_B02: tile and start of the datatake, by ESA's naming convention of compact products
_OF_SENTINEL2 = re.compile(r"(?:^|_)T\d{2}[A-Z]{3}_(\d{8}T\d{6})(?:_|$)")
# LC08_L2SP_193023_20200420_20200822_02_T1_SR_B2: path and row, then the day of acquisition (USGS)
_OF_LANDSAT = re.compile(r"^L[COTE]0\d_L\w{3}_\d{6}_(\d{8})_")
SECONDS = "%Y%m%dT%H%M%S"
TOGETHER = timedelta(hours=1)  # bands of one scene are acquired within seconds
ONE_DAY = timedelta(days=1)  # where a name says the day alone


def stated_by_files(name: str, bands: Mapping[str, tuple[Any, str, int]]) -> Stated:
    """Return what the tags of all files say of offset and time; the time by their names where no tag says it.

    Args:
        name: of the scene.
        bands: open raster, path and index of each band.

    Raises:
        SceneError: one file says another offset than another, or another time.
    """
    first = {path: (band, raster) for band, (raster, path, _) in reversed(list(bands.items()))}
    by_path = {path: (band, stated_by_tags(raster)) for path, (band, raster) in first.items()}
    offsets = {said.offset: band for band, said in by_path.values() if said.offset is not None}
    if len(offsets) > 1:
        words = " and ".join(f"{offset} of {band}" for offset, band in sorted(offsets.items()))
        raise SceneError(
            f"the files of {name} state different offsets, RADIO_ADD_OFFSET {words}; bring all bands to one, or build"
            " them from the product."
        )
    tagged = {said.time: band for band, said in by_path.values() if said.time is not None}
    named = {time: band for path, (band, _) in by_path.items() if (time := time_in_name(Path(path).stem)) is not None}
    if len(by_path) == 1 and tagged and named and abs(min(tagged) - min(named)) > ONE_DAY:
        raise SceneError(
            f"{name} says {min(tagged):%Y-%m-%d %H:%M} in its tags and {min(named):%Y-%m-%d %H:%M} in its name; mend"
            " the tag (gdal_edit.py -mo ACQUISITION_TIME=2024-06-30T10:20:30 FILE), or rename the file."
        )
    for times, within in ((tagged, TOGETHER), (named, TOGETHER), (tagged | named, ONE_DAY)):
        _check_one_time(name, times, within)
    facts = {"time_from": "the files' names"} if named and not tagged else {}
    time = min(tagged or named, default=None)
    return Stated(next(iter(offsets), None), time=time, provenance=facts)


def time_in_name(stem: str) -> datetime | None:
    """Return the time of acquisition that a band's file name tells, in UTC; None where it follows no known convention.

    Sentinel-2's compact names and the names of whole products say the start of the datatake, Landsat's Collection
    names the day.
    """
    for pattern, form in ((_OF_PRODUCT, SECONDS), (_OF_SENTINEL2, SECONDS), (_OF_LANDSAT, "%Y%m%d")):
        if match := pattern.search(stem):
            try:
                return datetime.strptime(match[1], form).replace(tzinfo=UTC)
            except ValueError:
                return None
    return None


def _check_one_time(name: str, times: Mapping[datetime, str], within: timedelta) -> None:
    if times and max(times) - min(times) > within:
        first, last = min(times), max(times)
        raise SceneError(
            f"the files of {name} are of different times, {times[first]} of {first:%Y-%m-%d %H:%M} and {times[last]} of"
            f" {last:%Y-%m-%d %H:%M}; put each acquisition into a folder of its own."
        )
