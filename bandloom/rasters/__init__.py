"""Rasters: stored values, validity, footprints, arrays with their place, web tiles and PNG pictures."""
