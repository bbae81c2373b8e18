"""Shards to batches: shard sets, the loader and its order, buckets, verification."""
