"""Products of a finished map of classes: polygons, and hectares by zone."""
