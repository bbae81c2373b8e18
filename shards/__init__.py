"""Scenes in, shards out; shards in, batches out."""
