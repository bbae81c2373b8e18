"""Scores: confusion, several classes, calibration, fewer bands, spread over seeds."""
