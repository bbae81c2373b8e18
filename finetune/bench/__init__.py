"""The benchmark: frozen and fine-tuned scores of many encoders on many label sets, beside baselines, in one table."""
