"""Randomized smoothing: noises, one sampling pass, confidence bounds, and one file per certifier."""
