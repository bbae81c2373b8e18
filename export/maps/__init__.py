"""Finished maps of classes: one reader of their pixels and areas, one writer of features."""
