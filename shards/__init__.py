"""Shards: built from scenes, read as batches."""
