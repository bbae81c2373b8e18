"""The bundle: its record, checksums, golden chips, and how tiles are laid over a scene."""
