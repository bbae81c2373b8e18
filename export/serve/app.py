"""HTTP routes of the server: predictions, map tiles, health and metrics."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathPart
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from bandloom import __version__
from bandloom.export.serve.layers import MAX_ZOOM, Layer
from bandloom.export.serve.metrics import Measured, Metrics
from bandloom.export.serve.predictions import Answer, Asked, Predictions

TILE_THREADS = 4
GONE = 499  # what nginx calls a client that went away; nobody reads it
BANDS = r"^[A-Za-z0-9_]+(,[A-Za-z0-9_]+)*$"
OFFSETS = (0, -1000)


def make_app(
    predictions: Predictions, layers: Mapping[str, Layer], metrics: Metrics, is_draining: Callable[[], bool]
) -> FastAPI:
    """Return the ASGI application."""
    app = FastAPI(title="bandloom", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(HeadAsGet)
    _add_status(app, predictions, metrics, is_draining)
    _add_predict(app, predictions, metrics)
    _add_tiles(app, layers)
    return app


class HeadAsGet:
    """ASGI middleware that answers HEAD as GET; the server sends the head alone (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request."""
        asks_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if asks_head else scope, receive, send)


def _add_status(app: FastAPI, predictions: Predictions, metrics: Metrics, is_draining: Callable[[], bool]) -> None:
    about = {
        "bundle": predictions.bundle.record.name,
        "runtime": predictions.runner.name,
        "contract": predictions.bundle.contract.digest(),
    }

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the process lives."""
        return {"status": "ok"}

    @app.get("/ready", responses={503: {"description": "ending"}})
    async def ready() -> JSONResponse:
        """Say whether new work is taken; the golden chips were reproduced before the first request."""
        if is_draining():
            return JSONResponse({"status": "ending"}, 503)
        return JSONResponse({"status": "ready"} | about)

    @app.get("/metrics", response_class=Response)
    async def numbers() -> Response:
        """Answer Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_predict(app: FastAPI, predictions: Predictions, metrics: Metrics) -> None:
    @app.post("/predict", response_class=Response, responses=_REFUSALS, openapi_extra=_BODY)
    async def predict(
        request: Request,
        form: Annotated[Literal["cog", "json"], Query(alias="format", description="a map, or its numbers")] = "cog",
        bands: Annotated[
            str | None, Query(max_length=400, pattern=BANDS, description="l1c, l2a, eurosat, or names in file order")
        ] = None,
        offset: Annotated[int | None, Query(description="0 or -1000, where the file does not say")] = None,
    ) -> Response:
        """Map a GeoTIFF."""
        if offset is not None and offset not in OFFSETS:
            raise HTTPException(422, f"offset is {offset}; use 0 or -1000.")
        try:
            answer: Answer = await predictions.answer(request, Asked(form, bands, offset))
        except ClientDisconnect:
            return Response(status_code=GONE)
        metrics.pixels.inc(answer.pixels)
        return Response(answer.content, media_type=answer.media_type)


def _add_tiles(app: FastAPI, layers: Mapping[str, Layer]) -> None:
    limiter = CapacityLimiter(TILE_THREADS)

    @app.get("/layers")
    async def listed(request: Request) -> list[dict[str, Any]]:
        """List what tiles are served of, as TileJSON."""
        return [
            {
                "tilejson": "3.0.0",
                "name": layer.name,
                "bounds": layer.tilejson_bounds,
                "minzoom": 0,
                "maxzoom": MAX_ZOOM,
                "tiles": [f"{request.base_url}tiles/{layer.name}/{{z}}/{{x}}/{{y}}.png"],
            }
            for layer in layers.values()
        ]

    @app.get("/tiles/{name}/{z}/{x}/{y}.png", response_class=Response, responses={404: {"description": "no such tile"}})
    async def tile(
        name: str,
        z: Annotated[int, PathPart(ge=0, le=MAX_ZOOM)],
        x: Annotated[int, PathPart(ge=0)],
        y: Annotated[int, PathPart(ge=0)],
    ) -> Response:
        """Draw a tile of a layer."""
        layer = layers.get(name)
        if layer is None or max(x, y) >= 2**z:
            raise HTTPException(404, "there is no such tile; see /layers.")
        drawn = await anyio.to_thread.run_sync(layer.tile, z, x, y, limiter=limiter)
        if drawn is None:
            raise HTTPException(404, "the layer has nothing here.")
        return Response(drawn, media_type="image/png", headers={"Cache-Control": "max-age=3600"})


_REFUSALS: dict[int | str, dict[str, Any]] = {
    408: {"description": "the body came too slowly"},
    413: {"description": "the upload, its raster or its map would be too large"},
    415: {"description": "no GeoTIFF"},
    429: {"description": "all places are taken; see Retry-After"},
}
_BODY = {
    "requestBody": {"required": True, "content": {"image/tiff": {"schema": {"type": "string", "format": "binary"}}}}
}
