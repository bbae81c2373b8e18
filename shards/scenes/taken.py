"""Dates of acquisition that cannot be, in the future or before the satellite flew: a warning, and they are kept."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from bandloom.command_line.console import logger
from bandloom.shards.scenes.scene import Scene

AHEAD = timedelta(days=1)  # clocks differ, and so do the days of time zones
LAUNCHED = {  # the first satellite that carried the instrument (ESA; USGS; GISTDA); HLS L30 is Landsat 8's
    "sentinel2": datetime(2015, 6, 23, tzinfo=UTC),
    "landsat89": datetime(2013, 2, 11, tzinfo=UTC),
    "hls": datetime(2013, 2, 11, tzinfo=UTC),
    "theos1": datetime(2008, 10, 1, tzinfo=UTC),
}


def warn_of_time(scene: Scene) -> None:
    """Warn, once a scene, where its time lies in the future or before its satellite was launched."""
    if scene.datetime is None:
        return
    family = scene.sensor.name.partition("-")[0]
    if scene.datetime > datetime.now(UTC) + AHEAD:
        _say(scene.name, f"{scene.datetime:%Y-%m-%d}", "which is yet to come")
    elif family in LAUNCHED and scene.datetime < LAUNCHED[family]:
        _say(scene.name, f"{scene.datetime:%Y-%m-%d}", f"before {family} flew ({LAUNCHED[family]:%Y-%m-%d})")


@lru_cache(maxsize=4096)
def _say(name: str, day: str, why: str) -> None:
    logger.warning("%s says that it was taken on %s, %s; mend its date, which is kept as it is stated", name, day, why)
