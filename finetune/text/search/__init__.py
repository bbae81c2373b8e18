"""Search by text or by image, and similarity maps."""
