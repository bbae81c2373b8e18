"""Scenes to shards: plan, units of work, labels, captions, duplicates, splits, statistics."""
