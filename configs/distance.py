"""Epicentral distance."""

from ml_collections import ConfigDict

from configs import base


def get_config(protocol: str = "stead") -> ConfigDict:
    """The experiment for a protocol of `configs/base.py`."""
    config = base.get_config("distance", protocol)
    if protocol == "builtin":
        # P at the beginning, so that S is in the window up to 18 s later.
        config.data.window = 2048
        config.data.p_position_ratio = 0.1
        config.train.epochs = config.train.patience = 24
        config.optim.down_steps = 4200
    return config
