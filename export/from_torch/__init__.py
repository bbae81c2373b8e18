"""From a trained model to a bundle: ONNX, 16 bits, int8, parity. The only folder here that may import torch."""
