"""``bandloom map``: from a box and a time to a map, polygons, areas and a page."""
