"""Requests that an enemy, a broken program or a cosmic ray would send, as bytes, and the statuses they may get."""

import warnings
import zlib
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from rasterio.transform import Affine, from_origin

from bandloom.sensors import SLOTS
from tests.export.serve.server_process import head

Request = tuple[str, bytes, set[int] | None]  # a name, the bytes, and the statuses that are right (None: any below 500)
TIFF = "Content-Type: image/tiff"


def hostile_requests(good: bytes, seed: int, count: int) -> Iterator[Request]:
    """Yield ``count`` requests: the fixed ones first, then damage drawn from ``seed``.

    Args:
        good: a GeoTIFF that would be mapped.
        seed: draws the damage; seed 0 begins with every fixed request.
        count: how many.
    """
    fixed = [*_heads(good), *_bodies(good), *_rasters()] if seed == 0 else []
    yield from fixed[:count]
    rng = np.random.default_rng(seed)
    kinds: list[Callable[[np.random.Generator, bytes], Request]] = [
        _flipped,
        _cut,
        _noise_path,
        _noise_query,
        _noise_bytes,
        _odd_raster,
    ]
    for number in range(max(0, count - len(fixed))):
        yield kinds[number % len(kinds)](rng, good)


def upload(content: bytes, query: str = "", *headers: str) -> bytes:
    return head("POST", f"/predict{query}", *(headers or (TIFF,)), length=len(content)) + content


def _heads(good: bytes) -> Iterator[Request]:
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), {400, 0}
    yield "endless head", b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 200_000 + b"\r\n\r\n", {400, 0}
    yield "other method", head("PUT", "/predict", TIFF, length=0), {405}
    yield "no route", head("GET", "/../../etc/passwd"), {404}
    yield "encoded traversal", head("GET", "/tiles/%2e%2e%2f%2e%2e%2fetc%2fpasswd/0/0/0.png"), {404}
    yield "a tile of a path", head("GET", "/tiles/%2Fvsicurl%2Fhttp:%2F%2Flocalhost/0/0/0.png"), {404}
    yield "tile beyond the world", head("GET", "/tiles/map/99/0/0.png"), {422}
    yield "negative tile", head("GET", "/tiles/map/1/-1/0.png"), {422}
    yield "huge tile number", head("GET", f"/tiles/map/18/{'9' * 400}/0.png"), {404, 422}
    yield "two lengths", head("POST", "/predict", TIFF, "Content-Length: 4", length=5) + b"II*\0", {400}
    yield "negative length", head("POST", "/predict", TIFF, "Content-Length: -1"), {400}
    yield "false length", head("POST", "/predict", TIFF, length=99_999_999), {413}
    chunked = head("POST", "/predict", TIFF, "Transfer-Encoding: chunked")
    yield "chunks without end", chunked + _chunks(b"\0" * 65536, 80), {413, 0}
    yield "bad chunk", chunked + b"zz\r\nII*\0\r\n", {400, 0}
    yield "NUL in path", head("GET", "/health%00"), {404}
    yield "a path to read", upload(good, "?bands=/vsicurl/http://localhost/"), {422}
    yield "a band order of nothing", upload(good, "?bands=,,,"), {422}
    yield "a false offset", upload(good, "?offset=7"), {422}
    yield "an offset of letters", upload(good, "?offset=x"), {422}
    yield "an unknown form", upload(good, "?format=exe"), {422}


def _bodies(good: bytes) -> Iterator[Request]:
    yield "nothing", upload(b""), {422}
    yield "JSON", upload(b"{}", "", "Content-Type: application/json"), {415}
    yield (
        "a form",
        upload(
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="../../x"\r\n\r\n\r\n--x--',
            "",
            "Content-Type: multipart/form-data; boundary=x",
        ),
        {415},
    )
    vrt = (
        b'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        b"<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    yield "a VRT", upload(vrt), {415}
    yield "a VRT behind a TIFF's magic", upload(b"II*\0" + vrt), {422}
    yield "a PNG", upload(b"\x89PNG\r\n\x1a\n" + zlib.compress(b"\0" * 1000)), {415}
    yield "a TIFF's first bytes", upload(good[:8]), {422}
    yield "half a TIFF", upload(good[: len(good) // 2]), {422}
    yield "a TIFF of zeros", upload(good[:4] + bytes(5000)), {422}
    yield "too much", upload(good[:4] + bytes(3_500_000)), {413, 0}


def _rasters() -> Iterator[Request]:
    yield "a bomb of pixels", upload(raster(width=60_000, height=60_000, sparse=True)), {413}
    yield "a bomb of one block", upload(raster(width=64, height=64, block=4096, sparse=True)), {413}
    yield "a bomb of ground", upload(raster(transform=Affine(1, 0, 100, 0, -1, 50), epsg=4326)), {413, 422}
    yield "one band", upload(raster(bands=1)), {422}
    yield "no coordinate system", upload(raster(epsg=None)), {422}
    yield "bytes", upload(raster(dtype="uint8", fill=90)), {422}
    yield "NaN", upload(raster(dtype="float32", fill=np.nan)), {422}
    yield "complex", upload(raster(dtype="complex64")), {422}
    yield "upside down", upload(raster(transform=Affine(10, 0, 600000, 0, 10, 1500000))), {422}
    yield "infinite place", upload(raster(transform=Affine(10, 0, float("inf"), 0, -10, 1e308))), {422}


def raster(
    *,
    width: int = 60,
    height: int = 60,
    bands: int = 13,
    dtype: str = "uint16",
    fill: float = 1500,
    epsg: int | None = 32647,
    transform: Affine | None = None,
    block: int = 64,
    sparse: bool = False,
) -> bytes:
    """Return a GeoTIFF; a sparse one declares its pixels and holds none."""
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": bands,
        "dtype": dtype,
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
        "transform": transform or from_origin(600000, 1500000, 10, 10),
        "compress": "deflate",
        "sparse_ok": sparse,
        "bigtiff": "IF_SAFER",
    }
    if epsg is not None:
        profile["crs"] = f"EPSG:{epsg}"
    with TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        path = f"{folder}/r.tif"
        with rasterio.open(path, "w", **profile) as file:
            if bands == len(SLOTS):
                file.descriptions = SLOTS
            file.update_tags(RADIO_ADD_OFFSET="-1000")
            if not sparse:
                file.write(np.full((bands, height, width), fill, dtype))
        with open(path, "rb") as stream:
            return stream.read()


def _chunks(content: bytes, times: int) -> bytes:
    return (f"{len(content):x}\r\n".encode() + content + b"\r\n") * times + b"0\r\n\r\n"


def _flipped(rng: np.random.Generator, good: bytes) -> Request:
    """Flip bytes, most of them where a TIFF keeps its tags."""
    damaged = np.frombuffer(good, np.uint8).copy()
    reach = len(good) if rng.random() < 0.3 else 2000
    places = rng.integers(4, reach, int(rng.integers(1, 30)))
    damaged[places] = rng.integers(0, 256, len(places))
    return f"flipped bytes {places[:3]}", upload(damaged.tobytes()), None


def _cut(rng: np.random.Generator, good: bytes) -> Request:
    keep = int(rng.integers(0, len(good)))
    return f"cut at {keep}", upload(good[:keep] + bytes(int(rng.integers(0, 1000)))), None


def _noise_path(rng: np.random.Generator, _: bytes) -> Request:
    letters = [*"/.%2e\\~:;?&=#@*{}[]()<>|\"'$ \u00e9", "%00", "%ff", "..", "tiles", "layers", "/vsi", "etc"]
    path = "/" + "".join(rng.choice(letters, int(rng.integers(1, 40)))).replace(" ", "%20").replace("\u00e9", "%C3%A9")
    return f"path {path}", head(str(rng.choice(["GET", "POST", "DELETE", "OPTIONS"])), path), None


def _noise_query(rng: np.random.Generator, good: bytes) -> Request:
    key = str(rng.choice(["bands", "offset", "format", "sensor", "x"]))
    value = bytes(rng.integers(33, 127, int(rng.integers(0, 60))).astype(np.uint8)).decode()
    return f"query {key}={value}", upload(good, f"?{key}={value}".replace(" ", "")), None


def _noise_bytes(rng: np.random.Generator, _: bytes) -> Request:
    content = bytes(rng.integers(0, 256, int(rng.integers(0, 4000))).astype(np.uint8))
    sent = content if rng.random() < 0.5 else upload(b"II*\0" + content)
    return "noise", sent, None


def _odd_raster(rng: np.random.Generator, _: bytes) -> Request:
    numbers = [0.0, 1e-9, 0.5, 7.3, 10.0, 60.0, 1e7, -10.0, 1e300, float("nan"), float("inf")]
    a, b, c, d, e, f = (float(rng.choice(numbers)) for _ in range(6))
    epsg = int(rng.choice([32647, 32701, 4326, 3857, 2154, 3413, 9377]))
    kind = str(rng.choice(["uint16", "int16", "float64"]))
    asked = {
        "epsg": epsg,
        "transform": Affine(a, b, c, d, e, f),
        "dtype": kind,
        "fill": float(rng.choice([0, 1, 1500, 30000])),
        "width": int(rng.integers(1, 200)),
        "height": int(rng.integers(1, 200)),
    }
    return f"raster {asked}", upload(raster(**asked)), None
