"""The state of a run: its folder, its markers, its finished pieces, its heartbeat."""
