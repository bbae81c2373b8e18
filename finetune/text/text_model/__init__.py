"""Text models: towers from Hugging Face folders, pooling, and stored vectors."""
