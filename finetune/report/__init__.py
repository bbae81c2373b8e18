"""What a finished run writes: scores, pictures and predictions."""
