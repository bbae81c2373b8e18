"""Let timm and transformers import beside a CPU build of torch.

torchvision's wheel is linked against CUDA. With a CPU torch its C++ part does not load, the operators ``nms`` and
``qnms`` are never defined, and importing torchvision fails when it registers their shapes. Defining the two first mends
that; where torch has CUDA, torchvision defines them itself and nothing is done here. Import this module before timm.
"""

import torch

_KEPT_ALIVE: list[torch.library.Library] = []


def prepare_torchvision() -> None:
    """Define the operators that a CUDA-linked torchvision misses on a CPU torch; harmless to call again."""
    if torch.version.cuda is not None or _KEPT_ALIVE or hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT_ALIVE.append(library)


prepare_torchvision()
