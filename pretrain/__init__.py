"""Masked autoencoding of native-resolution multispectral tokens."""
