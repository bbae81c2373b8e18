"""Random draws and picks that are the same on every machine."""
