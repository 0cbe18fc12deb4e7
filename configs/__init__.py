"""Experiment configurations, one file a task over a common base."""
