"""Encoder, band embedding, checkpoints and model cards: what a pretrained encoder is, on disk and in memory."""
