"""Golden chips: real chips with torch's logits in ``golden.npz``, replayed wherever the bundle is loaded.

Chips are stored band by band under the band's name. Replaying stacks them in the order that ``bundle.json`` gives, so
a record whose band order was changed feeds the model wrong channels and is caught by the model's own answer.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bandloom.errors import BundleError
from bandloom.export.bundle.native_groups import Groups
from bandloom.export.bundle.record import Contract

GOLDEN = "golden.npz"


@dataclass(frozen=True)
class Golden:
    """Chips by band ``(B, H, W)`` uint16, torch's logits ``(B, K, H, W)`` or ``(B, K)``, and the contract."""

    bands: dict[str, np.ndarray]
    logits: np.ndarray
    contract: dict[str, object]
    features: np.ndarray | None = None  # (B, D, rows, columns) of the encoder, where the bundle holds it

    def groups(self, contract: Contract) -> Groups:
        """Stack the chips' bands in the order of ``contract``.

        Raises:
            BundleError: the contract names a band that the chips do not have, or fewer bands than they have.
        """
        wanted = [band for group in contract.groups for band in group.bands]
        if sorted(wanted) != sorted(self.bands):
            raise BundleError(
                f"bundle.json lists the bands {', '.join(wanted)}, but {GOLDEN} holds {', '.join(self.bands)}; one of"
                " the two was edited, copy the bundle again."
            )
        return {g.gsd_m: np.stack([self.bands[band] for band in g.bands], axis=1) for g in contract.groups}


def golden_of(groups: Groups, logits: np.ndarray, contract: Contract, features: np.ndarray | None = None) -> Golden:
    """Take native groups ``{gsd_m: (B, C, H, W)}`` apart by band name."""
    bands = {band: groups[g.gsd_m][:, i] for g in contract.groups for i, band in enumerate(g.bands)}
    return Golden(bands, logits.astype(np.float32), contract.to_dict(), features)


def write_golden(path: Path, golden: Golden) -> None:
    """Write ``golden.npz``."""
    arrays = {f"band_{name}": dn for name, dn in golden.bands.items()}
    if golden.features is not None:
        arrays["features"] = golden.features
    text = np.frombuffer(json.dumps(golden.contract).encode(), np.uint8)
    np.savez_compressed(path, allow_pickle=False, **arrays, logits=golden.logits, contract=text)


def read_golden(path: Path) -> Golden:
    """Read ``golden.npz``.

    Raises:
        BundleError: the file is absent or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            bands = {key.removeprefix("band_"): stored[key] for key in stored.files if key.startswith("band_")}
            contract = json.loads(stored["contract"].tobytes())
            features = stored["features"] if "features" in stored.files else None
            return Golden(bands, stored["logits"], contract, features)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as cause:
        raise BundleError(f"{path} cannot be read ({cause}); copy the bundle again.") from cause
