"""The ground floor: what a band, a sensor, an encoder and a checkpoint are, and the engine that trains them."""

__version__ = "0.1.0"
