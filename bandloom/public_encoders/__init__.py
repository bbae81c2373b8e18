"""Encoders that others pretrained and published, behind the interface of our own: a record and a few files a family."""
