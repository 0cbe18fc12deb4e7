"""The same as `picking.py`, under the short name of the PyTorch original."""

from configs.picking import get_config

__all__ = ["get_config"]
