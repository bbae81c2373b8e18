"""Experimental: a causal language model that is shown an image, to caption it and to answer questions about it."""
