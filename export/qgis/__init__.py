"""A QGIS plugin that runs the `bandloom` command, and the command that writes it as a zip."""
