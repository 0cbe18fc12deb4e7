"""P and S arrival picking."""

from ml_collections import ConfigDict

from configs import base


def get_config(protocol: str = "stead") -> ConfigDict:
    """The experiment for a protocol of `configs/base.py`."""
    config = base.get_config("picking", protocol)
    # phases: curves of neither phase (not trained), P and S. detection: of an event in progress,
    # P and S. Empty: the form that the model was published with.
    config.options.form = ""
    config.options.label_shape = "gaussian"  # sigma of 10 samples; triangle, box, sigmoid
    config.options.label_width_s = 0.5  # seconds of label around an arrival
    config.options.p_threshold = 0.3  # smallest probability of a pick
    config.options.s_threshold = 0.3
    config.options.min_peak_distance_s = 1.0  # seconds between two picks of a phase
    config.options.max_picks = 1  # of a phase in a window
    config.options.tolerance_s = 0.1  # seconds; a pick within it is a hit
    # Of each phase on noise, at most, with the thresholds of the operating point "false_picks".
    config.options.false_picks_per_hour = 1.0
    # Of the form "detection": an event is in progress where the probability is above it.
    config.options.detection_threshold = 0.5
    if protocol == "builtin":
        # Twice the steps for the same number of windows. The network is still learning when the
        # minutes are over, and with larger batches the score depends on luck.
        config.train.batch_size = 8
        config.optim.max_lr = 1e-3
        config.optim.up_steps, config.optim.down_steps = 200, 4624  # one cycle over 12 epochs
    return config
