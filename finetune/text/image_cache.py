"""Cache of image vectors of a frozen encoder: an image is encoded once for each way that it is turned."""

import torch
from torch import Tensor

from bandloom.finetune.text.model import AlignModel
from bandloom.finetune.training.augment import d4, turns_of
from bandloom.training.device_batch import DeviceBatch

MOST = 500_000  # vectors kept; later images are encoded each time


class ImageCache:
    """Vectors of training images by key and turn.

    Args:
        model: its encoder does not train.
        turned: whether images are turned and mirrored.
    """

    def __init__(self, model: AlignModel, *, turned: bool) -> None:
        self.model, self.turned = model, turned
        self._kept: dict[tuple[str, int], Tensor] = {}

    def of(self, batch: DeviceBatch) -> Tensor:
        """Return the unit vectors of a batch's images, ``(B, D)``."""
        turns = turns_of(batch.draws) if self.turned else [0] * len(batch.keys)
        names = list(zip(batch.keys, turns, strict=True))
        missing = [place for place, name in enumerate(names) if name not in self._kept]
        encoded = dict(zip(missing, self._encode(batch, missing), strict=True)) if missing else {}
        rows = [encoded[place] if place in encoded else self._kept[name] for place, name in enumerate(names)]
        for place, row in encoded.items():
            if len(self._kept) < MOST:
                self._kept[names[place]] = row
        return torch.stack(rows)

    @torch.no_grad()
    def _encode(self, batch: DeviceBatch, places: list[int]) -> Tensor:
        groups = {gsd: torch.stack([group[place] for place in places]) for gsd, group in batch.groups.items()}
        own = DeviceBatch(batch.sensor, groups, tuple(batch.keys[p] for p in places), batch.draws[places], None, None)
        return self.model.image((d4(own) if self.turned else own).groups)
