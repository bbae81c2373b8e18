"""Static STAC catalogues: a catalog.json, on disk or by HTTP, with links to items, which no service searches.

Every item there and then is read; of a collection whose extent lies elsewhere, none.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bandloom.command_line.console import track
from bandloom.errors import SceneError

if TYPE_CHECKING:
    import pystac
    from pystac.stac_io import StacIO

    from bandloom.shards.scenes.cut import Box

ROOTS = ("catalog.json", "collection.json")  # of a folder
Time = dt.datetime | None  # None: open


@dataclass(frozen=True)
class Wanted:
    """The ground, the time (its ends, None where open) and the collection that items are wanted of."""

    bbox: "Box"
    first: Time
    last: Time
    collection: str


def is_static(root: Mapping[str, Any]) -> bool:
    """Tell whether a catalogue's first page offers no search."""
    rels = {link.get("rel") for link in root.get("links") or [] if isinstance(link, Mapping)}
    return "search" not in rels and not root.get("conformsTo")


def address_of(api: str) -> str:
    """Return an address as it is, and a path of this machine as the file that a catalogue begins with.

    Raises:
        SceneError: there is no such file, or the folder holds no catalogue.
    """
    if "://" in api and not api.startswith("file://"):
        return api
    path = Path(api.removeprefix("file://")).expanduser().resolve()
    file = next((path / name for name in ROOTS if (path / name).is_file()), path)
    if not file.is_file():
        raise SceneError(
            f"there is no catalogue at {path}; name a catalog.json, a folder that holds one, or the address of a STAC"
            " API."
        )
    return str(file)


def static_items(address: str, wanted: Wanted, calls: "StacIO") -> list[dict[str, Any]]:
    """Return the items of a static catalogue there and then, the addresses of their assets absolute.

    Args:
        address: of its first page: a catalogue, a collection, or items in one file.
        wanted: which.
        calls: what reads pages.

    Raises:
        SceneError: it is none of these, or has items there and then of other collections alone.
        Exception: whatever reading a page raises.
    """
    items, others = [], set()
    for item in track(_items(address, calls, wanted), "items of the catalogue read"):
        if not (_is_there(wanted.bbox, item.bbox) and _is_then(wanted, _times_of(item))):
            continue
        if item.collection_id not in (None, wanted.collection):
            others.add(str(item.collection_id))
            continue
        item.make_asset_hrefs_absolute()
        items.append(item.to_dict(include_self_link=False, transform_hrefs=False))
    if others and not items:
        raise SceneError(
            f"{address} has items there and then of {', '.join(sorted(others))}, and none of {wanted.collection!r};"
            " name its --collection."
        )
    return items


def _items(address: str, calls: "StacIO", wanted: Wanted) -> Iterator["pystac.Item"]:
    import pystac

    root = calls.read_json(address)
    kind = root.get("type")
    if kind in ("FeatureCollection", "Feature"):
        for feature in root["features"] if kind == "FeatureCollection" else [root]:
            item = pystac.Item.from_dict(feature, preserve_dict=False)
            item.set_self_href(address)
            yield item
    elif kind in ("Catalog", "Collection") or "links" in root:
        made = pystac.Collection if "extent" in root else pystac.Catalog
        top = made.from_file(address, stac_io=_pages(calls))
        top.set_root(top)  # a collection that was copied alone names a root that is not there
        yield from _below(top, wanted, set())
    else:
        raise SceneError(f"{address} is no STAC catalogue, collection or items; name a catalog.json.")


def _pages(calls: "StacIO") -> "StacIO":
    """Return what reads pages by ``calls`` and makes plain catalogues of them, not an API's."""
    from pystac.stac_io import DefaultStacIO

    class Pages(DefaultStacIO):
        def read_text_from_href(self, href: str) -> str:
            return calls.read_text(href)

    return Pages()


def _below(catalogue: "pystac.Catalog", wanted: Wanted, seen: set[str]) -> Iterator["pystac.Item"]:
    """Yield the items below a catalogue, each page once, whatever links in a circle."""
    here = str(catalogue.get_self_href())
    if here in seen or not _may_hold(catalogue, wanted):
        return
    seen.add(here)
    for item in catalogue.get_items():
        if str(item.get_self_href()) not in seen:
            seen.add(str(item.get_self_href()))
            yield item
    for link in catalogue.get_child_links():
        if str(link.get_absolute_href()) not in seen:
            yield from _below(link.resolve_stac_object(catalogue.get_root()).target, wanted, seen)  # type: ignore[arg-type]


def _may_hold(catalogue: "pystac.Catalog", wanted: Wanted) -> bool:
    """Tell whether a collection's extent meets what is wanted; a plain catalogue states none."""
    extent = getattr(catalogue, "extent", None)
    if extent is None:
        return True
    (first, last), *_ = extent.temporal.intervals or [(None, None)]
    return _is_there(wanted.bbox, extent.spatial.bboxes[0]) and _is_then(wanted, (first, last))


def _times_of(item: "pystac.Item") -> tuple[Time, Time]:
    if item.datetime is not None:
        return item.datetime, item.datetime
    return item.common_metadata.start_datetime, item.common_metadata.end_datetime


def _is_then(wanted: Wanted, times: tuple[Time, Time]) -> bool:
    first, last = (None if time is None else _aware(time) for time in times)
    begins_late = first is not None and wanted.last is not None and first > wanted.last
    ends_early = last is not None and wanted.first is not None and last < wanted.first
    return not begins_late and not ends_early


def _aware(time: dt.datetime) -> dt.datetime:
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _is_there(box: "Box", stated: Sequence[float] | None) -> bool:
    """Tell whether two boxes in degrees meet, across the antimeridian too; one that is not stated may."""
    if not stated:
        return True
    west, south, east, north = [*stated[:2], *stated[3:5]] if len(stated) == 6 else stated
    if south > box[3] or north < box[1]:
        return False
    width, own_width = (right - left + 360 * (right < left) for left, right in ((west, east), (box[0], box[2])))
    return (box[0] - west) % 360 <= width or (west - box[0]) % 360 <= own_width


def span_of(dates: str) -> tuple[Time, Time]:
    """Return the ends of a time as STAC writes it, a day or month as its first and last second."""
    from pystac_client import ItemSearch

    written = str(ItemSearch(url="https://example.org", datetime=dates).get_parameters()["datetime"])
    first, _, last = written.partition("/")
    ends = [None if end in ("", "..") else _aware(dt.datetime.fromisoformat(end)) for end in (first, last or first)]
    return ends[0], ends[1]
