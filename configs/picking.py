"""P and S arrival picking."""

from ml_collections import ConfigDict

from configs import base


def get_config(protocol: str = "stead") -> ConfigDict:
    """The experiment for a protocol of `configs/base.py`."""
    config = base.get_config("picking", protocol)
    config.options.label_shape = "gaussian"  # sigma of 10 samples; triangle, box, sigmoid
    config.options.label_width_s = 0.5  # seconds of label around an arrival
    config.options.p_threshold = 0.3  # smallest probability of a pick
    config.options.s_threshold = 0.3
    config.options.min_peak_distance_s = 1.0  # seconds between two picks of a phase
    config.options.max_picks = 1  # of a phase in a window
    config.options.tolerance_s = 0.1  # seconds; a pick within it is a hit
    return config
