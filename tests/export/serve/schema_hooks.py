"""Tells schemathesis, which loads this file, to send a body of image/tiff as the bytes that it drew."""

import schemathesis  # pyright: ignore[reportMissingImports]

schemathesis.serializer.alias("image/tiff", "application/octet-stream")
