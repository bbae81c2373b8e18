"""Training on labels: batches, losses, augmentation, and fitting the head first."""
