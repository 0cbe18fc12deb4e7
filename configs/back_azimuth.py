"""Back-azimuth."""

from ml_collections import ConfigDict

from configs import base


def get_config(protocol: str = "stead") -> ConfigDict:
    """The experiment for a protocol of `configs/base.py`."""
    config = base.get_config("back_azimuth", protocol)
    # vector: cosine and sine. angle: degrees. Empty: the form that the model was published with.
    config.options.form = ""
    if protocol == "builtin":
        # A short window around P, whose particle motion points to the source.
        config.data.window = 1024
        config.data.p_position_ratio = 0.4
        config.train.epochs = config.train.patience = 20
        config.optim.down_steps = 3500
    return config
