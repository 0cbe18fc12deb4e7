"""Scores, summed in float64, and peak picking."""
