"""The same as `distance.py`, under the short name of the PyTorch original."""

from configs.distance import get_config

__all__ = ["get_config"]
