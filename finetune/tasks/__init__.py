"""Tasks: one frozen record a task, each a file; add a task by adding a file here and a line in registry.py."""
