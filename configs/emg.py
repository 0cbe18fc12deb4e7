"""The same as `magnitude.py`, under the short name of the PyTorch original."""

from configs.magnitude import get_config

__all__ = ["get_config"]
