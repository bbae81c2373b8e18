"""Search by words or by image, and maps of where words apply."""
