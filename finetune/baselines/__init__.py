"""Baselines that every score stands beside: classifiers, random filters, networks from scratch, public encoders."""
