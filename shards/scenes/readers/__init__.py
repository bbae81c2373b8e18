"""Readers of scenes, one for each way in which they are delivered: ESA, USGS, NASA, GISTDA, STAC and plain rasters."""
