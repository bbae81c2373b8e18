"""What a run keeps while it works: its folder, its markers, its finished pieces, its heartbeat."""
