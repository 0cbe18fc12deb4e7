"""Trained networks on windows and continuous records."""
