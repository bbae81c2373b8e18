"""Text: aligning the encoder with captions, zero-shot classes, search."""
