"""Floating-point operations of a transformer by formula, and the share of a card's peak that a run uses (MFU).

A multiply and an add count as two. A matrix product of a backward pass costs twice its forward pass; operations that
are no matrix products (norms, softmax, activations) are left out, as in Kaplan et al. 2020 and PaLM's MFU (appendix B).
"""

import torch

# dense bf16 TFLOP/s by NVIDIA's data sheets, by a part of the card's name; the first match counts
PEAK_BF16_TFLOPS = {
    "GH200": 989.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "B200": 2250.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A100": 312.0,
    "A40": 150.0,
    "A30": 165.0,
    "A10": 125.0,
    "RTX 6000 Ada": 364.0,
    "RTX 4090": 165.0,
    "V100": 125.0,  # fp16: it has no bf16
}
TRAIN_FACTOR = 3.0  # forward, and twice that backward


def block_flops(tokens: int, embed_dim: int, mlp_ratio: float = 4.0) -> float:
    """Return the forward FLOPs of one transformer block over ``tokens`` tokens of one sample.

    Four D x D projections and the two of the MLP cost ``2 T (4 + 2 mlp_ratio) D^2``; scores and their use on the values
    cost ``4 T^2 D``.
    """
    return 2.0 * tokens * (4 + 2 * mlp_ratio) * embed_dim**2 + 4.0 * tokens**2 * embed_dim


def linear_flops(tokens: int, inputs: int, outputs: int) -> float:
    """Return the forward FLOPs of one linear layer over ``tokens`` tokens."""
    return 2.0 * tokens * inputs * outputs


def peak_flops(device: torch.device) -> float | None:
    """Return a card's dense bf16 peak in FLOP/s by its data sheet, or None where none is known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((tera * 1e12 for part, tera in PEAK_BF16_TFLOPS.items() if part in name), None)
