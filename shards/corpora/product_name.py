"""Names of Sentinel-2 products: level, time, processing baseline, and the radiometric offset that follows from it."""

import datetime as dt
import re
from dataclasses import dataclass

PRODUCT = re.compile(r"S2[A-D]_MSIL(1C|2A)_(\d{8}T\d{6})_N(\d{4})_R\d{3}_T([0-9A-Z]{5})(?:_\d{8}T\d{6})?")
_FIRST_WITH_OFFSET = 400  # processing baseline 04.00
_LAST_KNOWN = 599  # 9999 is a product made by somebody's own Sen2Cor: its baseline says nothing
_EARTH_ENGINE = re.compile(r"(\d{8}T\d{6})_\d{8}T\d{6}_T[0-9A-Z]{5}")


@dataclass(frozen=True)
class ProductName:
    """What a product's name says of it."""

    level: str
    time: dt.datetime
    baseline: int

    @property
    def offset(self) -> tuple[int, str] | None:
        """The offset to add and what says so; None where the baseline says nothing (N9999)."""
        if self.baseline > _LAST_KNOWN:
            return None
        added = -1000 if self.baseline >= _FIRST_WITH_OFFSET else 0
        return added, f"processing baseline {self.baseline // 100:02d}.{self.baseline % 100:02d} of the product's name"


def read_product_name(text: str) -> ProductName | None:
    """Return what a product's name says; None for any other text."""
    match = PRODUCT.fullmatch(text)
    time = None if match is None else compact_time(match[2])
    return None if match is None or time is None else ProductName(f"l{match[1].lower()}", time, int(match[3]))


def earth_engine_time(text: str) -> dt.datetime | None:
    """Return when the product of an Earth Engine id was taken; None for any other text."""
    match = _EARTH_ENGINE.fullmatch(text)
    return None if match is None else compact_time(match[1])


def compact_time(text: str) -> dt.datetime | None:
    """Return a time written ``20200223T032739``, UTC; None for any other text."""
    try:
        return dt.datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError:
        return None
