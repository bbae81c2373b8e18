"""Words for pixels: aligning the encoder with language, zero-shot classes, search, context, captions."""
