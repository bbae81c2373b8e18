"""Labelled samples and their splits: one class, several classes, two dates."""
