"""``bandloom shards fetch``: finds scenes in a STAC catalogue and downloads them whole, ready for the STAC reader.

Each item becomes a folder with ``item.json``, its assets, and ``SHA256SUMS`` of what arrived. A file is written under a
temporary name and renamed when it is whole, so that a fetch that was stopped goes on where it was.
"""

import hashlib
import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bandloom.command_line.console import logger, track
from bandloom.errors import BandloomError, SceneError
from bandloom.files.output import disk_refusal, new_output, write_json
from bandloom.shards.scenes.cut import Box
from bandloom.shards.scenes.readers.stac import ITEM
from bandloom.shards.scenes.readers.stac_assets import keys_of, scene_assets
from bandloom.shards.static_catalogue import Wanted, address_of, is_static, span_of, static_items

_CHUNK = 2**20
_SUMS = "SHA256SUMS"
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Search:
    """What to look for: a place, a time, how much cloud; ``api`` is a STAC API or a static catalogue's first page."""

    api: str
    collection: str
    bbox: Box  # west, south, east, north in degrees
    dates: str  # 2024-01-01/2024-02-01, or one of STAC's other forms
    max_cloud: float = 100.0  # percent
    limit: int = 10


def search(wanted: Search) -> list[dict[str, Any]]:
    """Return the items that a catalogue has, the least cloudy first.

    Raises:
        SceneError: the catalogue cannot be asked, or has none.
    """
    try:
        from pystac_client.stac_api_io import StacApiIO
    except ImportError as cause:
        raise SceneError("fetching needs pystac-client; install it with: pip install 'bandloom[fetch]'.") from cause
    address = address_of(wanted.api)
    calls = StacApiIO(timeout=_TIMEOUT_S)
    try:
        items = _ask(address, wanted, calls)
    except SceneError:
        raise
    except Exception as cause:  # whatever requests, pystac or the service raise
        said = " ".join(str(cause).split()) or type(cause).__name__
        raise SceneError(f"{wanted.api} cannot be searched ({said[:300]}); check --api and --dates.") from cause
    finally:
        calls.session.close()
    kept = [item for item in items if _cloud(item) <= wanted.max_cloud]
    if not kept:
        raise SceneError(
            f"{wanted.api} has no item of {wanted.collection!r} there and then with {wanted.max_cloud:g} % cloud or"
            " less; widen --bbox, --dates or --max-cloud."
        )
    return sorted(kept, key=lambda item: (_cloud(item), item["id"]))[: wanted.limit]


def _ask(address: str, wanted: Search, calls: Any) -> list[dict[str, Any]]:
    """Return the items of a catalogue there and then: its own search, or all of a static one that lie there."""
    from pystac_client import Client

    if is_static(calls.read_json(address)):
        return static_items(address, Wanted(wanted.bbox, *span_of(wanted.dates), wanted.collection), calls)
    answer = Client.open(address, stac_io=calls).search(
        collections=[wanted.collection],
        bbox=wanted.bbox,
        datetime=wanted.dates,
        query={"eo:cloud_cover": {"lte": wanted.max_cloud}} if wanted.max_cloud < 100 else None,
    )
    return [item.to_dict(transform_hrefs=False) for item in answer.items()]


def fetch(items: Sequence[dict[str, Any]], out: Path, assets: Sequence[str] | None = None) -> list[Path]:
    """Download the items' bands and masks; return the folders that are whole. What is there unchanged is kept.

    Args:
        items: STAC items.
        out: where each gets a folder.
        assets: keys of the assets to take; None: every band and cloud mask.

    Raises:
        SceneError: not one item could be fetched; others are logged.
        OutputError: the disk is full or read-only.
    """
    done, last = [], None
    for item in track(items, "items"):
        try:
            done.append(_fetch_item(item, folder_of(item, out), assets))
        except BandloomError as error:
            if disk_refusal(out, error) is not None:
                raise  # the disk takes no item
            last = error
            logger.warning("%s", error)
    if last is not None and not done:
        raise last
    return done


def folder_of(item: Mapping[str, Any], out: Path) -> Path:
    """Return the folder of an item below ``out``."""
    return out / _slug(str(item["id"]))


def is_fetched(item: Mapping[str, Any], out: Path) -> bool:
    """Tell whether an item was fetched to its end: its record is written last."""
    return (folder_of(item, out) / ITEM).is_file()


def _fetch_item(item: dict[str, Any], folder: Path, keys: Sequence[str] | None) -> Path:
    chosen = list(keys) if keys else scene_assets(item["assets"])
    unknown = [key for key in chosen if key not in item["assets"]]
    if unknown:
        raise SceneError(f"item {item['id']} has no asset {unknown[0]!r}; it has {', '.join(item['assets'])}.")
    folder.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {}
    for key in chosen:
        asset = item["assets"][key]
        name = _slug(Path(str(asset["href"]).partition("?")[0]).name)
        if any(other["href"] == f"./{name}" for other in kept.values()):
            name = f"{_slug(key)}_{name}"
        _fetch_file(asset, folder, name)
        kept[key] = asset | {"href": f"./{name}"}
    write_json(folder / ITEM, item | {"assets": kept, "links": []})
    return folder


def _fetch_file(asset: dict[str, Any], folder: Path, name: str) -> None:
    sums = _read_sums(folder)
    target = folder / name
    if target.is_file() and name in sums:
        if _is_same(asset, target, sums[name]):
            return
        logger.warning("%s is not what the catalogue has now; it is fetched again", target)
    temporary = folder / f".{name}.tmp"
    digest, size = hashlib.sha256(), 0
    try:
        with closing(_open(str(asset["href"]))) as source, temporary.open("wb") as file:
            wanted = getattr(source, "length", None)
            for chunk in _chunks(source):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
        told = asset.get("file:size") or wanted
        if told is not None and size != told:
            raise SceneError(f"{asset['href']} ended after {size} of {told} bytes; run the same command again.")
        checksum = str(asset.get("file:checksum", ""))
        if checksum.startswith("1220") and checksum[4:].lower() != digest.hexdigest():
            raise SceneError(f"{asset['href']} arrived damaged (its sha256 is not the catalogue's); run it again.")
        temporary.rename(target)
    except (OSError, ValueError) as cause:
        if isinstance(cause, urllib.error.HTTPError):
            cause.close()
        if (refused := disk_refusal(target, cause)) is not None:
            raise refused from cause
        raise SceneError(f"{asset['href']} cannot be fetched ({cause}); run the same command again.") from cause
    finally:
        temporary.unlink(missing_ok=True)
    sums[name] = digest.hexdigest()
    with new_output(folder / _SUMS, overwrite=True) as listed:
        listed.write_text("".join(f"{value}  {file}\n" for file, value in sorted(sums.items())))


def _is_same(asset: dict[str, Any], target: Path, digest: str) -> bool:
    """Tell whether a file is the asset's, by the checksum or size that the catalogue, or else the server, states."""
    checksum = str(asset.get("file:checksum", ""))
    if checksum.startswith("1220"):
        return checksum[4:].lower() == digest
    size = asset.get("file:size")
    if size is None:
        try:
            with closing(_open(str(asset["href"]))) as source:
                size = getattr(source, "length", None)
        except (OSError, ValueError):
            return True  # out of reach, and nothing says that it has changed
    return size is None or target.stat().st_size == size


def _open(href: str) -> IO[bytes]:
    """Open an asset: http(s) by itself, a local path, and anything else (s3://, gs://) by fsspec."""
    if href.startswith(("http://", "https://")):
        return urllib.request.urlopen(href, timeout=_TIMEOUT_S)
    if "://" not in href or href.startswith("file://"):
        return Path(href.removeprefix("file://")).open("rb")
    try:
        import fsspec
    except ImportError as cause:
        raise SceneError(f"{href} needs fsspec; install it with: pip install 'bandloom[fetch]'.") from cause
    return fsspec.open(href, "rb").open()  # pyright: ignore[reportReturnType, reportAttributeAccessIssue]


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK):
        yield chunk


def _read_sums(folder: Path) -> dict[str, str]:
    path = folder / _SUMS
    lines = path.read_text().splitlines() if path.is_file() else []
    return {name: value for value, _, name in (line.partition("  ") for line in lines)}


def _cloud(item: dict[str, Any]) -> float:
    return float(item["properties"].get("eo:cloud_cover") or 0.0)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".") or "item"


def free_bytes(out: Path) -> int:
    """Return the room on the disk that ``out`` will lie on."""
    place = out
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def total_bytes(items: Sequence[dict[str, Any]]) -> int:
    """Return the bytes that the items' bands state; 0 where a catalogue states none."""
    return sum(
        int(item["assets"][key].get("file:size") or 0) for item in items for key in keys_of(item["assets"]).values()
    )


def describe(item: dict[str, Any]) -> str:
    """Return one line about an item."""
    facts = item["properties"]
    when = str(facts.get("datetime") or facts.get("start_datetime"))[:16]
    return json.dumps(item["id"])[1:-1] + f"  {when}  {_cloud(item):.1f} % cloud"
