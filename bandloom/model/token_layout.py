"""The token layout: where each native sample of a token lies, and to which slot of the embedding it belongs.

Samples of a token are ordered group by group (finest first), band by band (slot order), row by row. The reference
layout is that of all thirteen slots on Sentinel-2's native grids: 201 samples in a token of 60 m.
"""

from dataclasses import dataclass

import numpy as np

from bandloom.errors import ConfigError, SensorError
from bandloom.sensors import REFERENCE_TOKEN_M, SENSORS, SLOTS, Sensor


@dataclass(frozen=True)
class SlotSamples:
    """The samples of one slot in a token: ``side * side`` of them from ``start`` on, sampled every ``gsd_m``."""

    slot: str
    gsd_m: int
    side: int
    start: int

    @property
    def stop(self) -> int:
        """One past the slot's last sample."""
        return self.start + self.side * self.side


@dataclass(frozen=True)
class TokenLayout:
    """The samples of one token of ``token_m`` metres, slot by slot."""

    token_m: int
    slots: tuple[SlotSamples, ...]

    @property
    def samples(self) -> int:
        """S, the number of samples a token holds."""
        return self.slots[-1].stop

    def slot_of_sample(self) -> np.ndarray:
        """Return the index into ``SLOTS`` of every sample, ``(S,)`` int64."""
        return np.concatenate([np.full(s.side**2, SLOTS.index(s.slot), np.int64) for s in self.slots])

    def by_gsd(self) -> dict[int, slice]:
        """Return the samples of each native grid, as slices of the sample axis."""
        gsds = sorted({s.gsd_m for s in self.slots})
        return {
            g: slice(min(s.start for s in self.slots if s.gsd_m == g), max(s.stop for s in self.slots if s.gsd_m == g))
            for g in gsds
        }


def token_layout(sensor: Sensor, token_m: int) -> TokenLayout:
    """Return the sample table of ``sensor`` for tokens of ``token_m`` metres.

    Raises:
        ConfigError: ``token_m`` is no positive multiple of 60.
        SensorError: a band's samples do not tile the token.
    """
    if token_m <= 0 or token_m % REFERENCE_TOKEN_M:
        raise ConfigError(f"token_m is {token_m}; it must be a positive multiple of {REFERENCE_TOKEN_M} metres.")
    rows: list[SlotSamples] = []
    start = 0
    for group in sensor.groups:
        if token_m % group.gsd_m:
            raise SensorError(f"sensor {sensor.name!r}: {group.gsd_m} m samples do not tile a token of {token_m} m.")
        for slot in group.slots:
            rows.append(SlotSamples(slot, group.gsd_m, token_m // group.gsd_m, start))
            start = rows[-1].stop
    return TokenLayout(token_m, tuple(rows))


def reference_layout(token_m: int) -> TokenLayout:
    """Return the layout of all thirteen slots on Sentinel-2's native grids: what embeddings and targets are made of."""
    return token_layout(SENSORS["sentinel2-l1c"], token_m)


def area_overlap(out_side: int, in_side: int) -> np.ndarray:
    """Return the matrix that resamples ``in_side`` cells of a line to ``out_side`` by area, ``(out, in)`` float32.

    Row i holds the share of output cell i that each input cell covers; rows sum to 1. A square ``x`` is resampled as
    ``A @ x @ A.T``.
    """
    edges_out = np.arange(out_side + 1) / out_side
    edges_in = np.arange(in_side + 1) / in_side
    low = np.maximum(edges_out[:-1, None], edges_in[None, :-1])
    high = np.minimum(edges_out[1:, None], edges_in[None, 1:])
    return (np.clip(high - low, 0, None) * out_side).astype(np.float32)
