"""Runtimes that run a bundle: ONNX Runtime, TensorRT, OpenVINO, and the check that each answers rightly."""
