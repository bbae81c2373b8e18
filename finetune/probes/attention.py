"""Attention probe: learned queries attend to a chip's frozen tokens, a linear map reads the rest.

The mean token mixes what is there with what is beside it; attention pooling is the usual third probe for masked
autoencoders (Chen et al., Context Autoencoder, arXiv 2202.03026; here without projections, so that it stays seconds).
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bandloom.training.device_memory import to_device
from bandloom.training.schedule import warm_cosine

HEADS, STEPS, BATCH, PEAK_LR = 4, 400, 256, 1e-2


class AttentionProbe(nn.Module):
    """Class logits ``(B, K)`` of tokens ``(B, G, D)``."""

    def __init__(self, embed_dim: int, classes: int, heads: int = HEADS) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(heads, embed_dim))
        self.classify = nn.Linear(heads * embed_dim, classes)
        nn.init.normal_(self.query, std=embed_dim**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend, and read."""
        attention = (tokens @ self.query.T * tokens.shape[-1] ** -0.5).softmax(1)  # (B, G, heads)
        return self.classify((attention.transpose(1, 2) @ tokens).flatten(1))


def attention_probe(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    classes: int,
    seed: int = 0,
    *,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Return predicted classes ``(M,)`` of test tokens ``(M, G, D)`` after fitting on ``(N, G, D)`` and ``(N,)``."""
    flat = train.reshape(-1, train.shape[-1]).astype(np.float32)
    mean, std = flat.mean(0), flat.std(0) + 1e-6
    torch.manual_seed(seed)
    model = AttentionProbe(train.shape[-1], classes).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=0.05)
    inputs = torch.from_numpy(((train - mean) / std).astype(np.float32)).to(device)
    targets = torch.from_numpy(labels).to(device)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = warm_cosine(step, STEPS, 20, PEAK_LR)
        picks = to_device(torch.randint(len(labels), (min(BATCH, len(labels)),)), device)  # the CPU's draws anywhere
        loss = functional.cross_entropy(model(inputs[picks]), targets[picks])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        parts = [
            model(torch.from_numpy(((part - mean) / std).astype(np.float32)).to(device)).argmax(1).cpu().numpy()
            for part in np.array_split(test, max(1, len(test) // 1024))
            if len(part)
        ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
