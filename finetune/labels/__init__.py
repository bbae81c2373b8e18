"""Labels from users: read with every problem named at once, and written in the one form that shards take."""
