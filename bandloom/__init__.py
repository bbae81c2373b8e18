"""The ground floor: bands, sensors, encoders and checkpoints, the training engine, and what every folder shares."""

__version__ = "0.1.0"
