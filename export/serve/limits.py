"""Limits on one client's requests; every number bounds memory, disk or time."""

from pydantic import Field

from bandloom.command_line.config import Config

MB = 1_000_000


class Limits(Config):
    """Bounds on requests, checked before the work that they bound."""

    upload_mb: int = Field(default=256, gt=0, description="bytes of one upload")
    raster_mb: int = Field(default=2048, gt=0, description="bytes of the raster that an upload declares, decompressed")
    block_mb: int = Field(default=128, gt=0, description="bytes of one tile or strip of it, decompressed")
    map_mpx: int = Field(default=36, gt=0, description="megapixels of 10 m in an answer")
    bands: int = Field(default=64, gt=0, description="bands of an upload")
    in_flight: int = Field(
        default=4, gt=0, description="requests received, mapped or answered at once; the next gets 429"
    )
    workers: int = Field(default=1, gt=0, description="scenes mapped at once")
    connections: int = Field(default=128, gt=0, description="open connections; the next gets 503")
    header_s: float = Field(default=10.0, gt=0, description="seconds a client has for the head of a request")
    body_s: float = Field(default=60.0, gt=0, description="seconds a client has to send a body")
    write_s: float = Field(default=30.0, gt=0, description="seconds a client may leave an answer unread")
    drain_s: int = Field(default=60, gt=0, description="seconds that running requests have after TERM")
