"""Public label sets as they are published: a record and a reader a set, from its own layout to shards and a config."""
