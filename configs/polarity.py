"""P-wave first-motion polarity.

STEAD has no such labels: use `:builtin`, or a table with a polarity column.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(protocol: str = "stead") -> ConfigDict:
    """The experiment for a protocol of `configs/base.py`."""
    return base.get_config("polarity", protocol)
