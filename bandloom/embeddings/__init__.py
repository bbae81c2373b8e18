"""Embeddings as a product: fewer dimensions, one byte each, and everything that reads them back in the file itself."""
