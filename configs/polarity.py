"""P-wave first-motion polarity.

STEAD has no such labels: use `:diting_light`, `:seisbench` with one of the datasets that have them,
`:builtin`, or a table with a polarity column.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(protocol: str = "stead") -> ConfigDict:
    """The experiment for a protocol of `configs/base.py`."""
    config = base.get_config("polarity", protocol)
    if protocol == "builtin":
        # The first motion is learnt from a few thousand traces only if it stays in one place.
        config.data.window = 1024
        config.data.p_position_ratio = 0.4
        config.train.epochs = config.train.patience = 20
        config.optim.down_steps = 2400
    return config
