"""The fine-tuned model: heads, the pixel networks, LoRA, and its checkpoint."""
