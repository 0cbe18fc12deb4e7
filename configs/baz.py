"""The same as `back_azimuth.py`, under the short name of the PyTorch original."""

from configs.back_azimuth import get_config

__all__ = ["get_config"]
