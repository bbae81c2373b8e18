"""The shard format: array codec, tar files, index and manifest."""
