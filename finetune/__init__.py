"""Label sets, heads, probes and baselines on a pretrained encoder."""
