"""Labels from users, read onto a scene's 10 m pixels: rasters of codes, polygons, points and tables."""
