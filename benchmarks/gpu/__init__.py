"""What a card does with the autoencoder: ``python -m benchmarks.gpu``, under 8 minutes."""
