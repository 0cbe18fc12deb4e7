"""The same as `polarity.py`, under the short name of the PyTorch original."""

from configs.polarity import get_config

__all__ = ["get_config"]
