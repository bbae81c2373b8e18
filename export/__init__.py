"""ONNX, parity, the bundle, and tiled inference of whole scenes without torch."""
