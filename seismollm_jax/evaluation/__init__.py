"""Exact evaluation, its tables and pictures."""
