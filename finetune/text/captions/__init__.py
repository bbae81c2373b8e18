"""Captions: read from files, or made from labels and metadata."""
