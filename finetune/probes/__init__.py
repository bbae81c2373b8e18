"""Probes: what frozen features are worth under a linear map, nearest neighbours or attention."""
