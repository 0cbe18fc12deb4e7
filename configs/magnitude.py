"""Magnitude."""

from ml_collections import ConfigDict

from configs import base


def get_config(protocol: str = "stead") -> ConfigDict:
    """The experiment for a protocol of `configs/base.py`."""
    config = base.get_config("magnitude", protocol)
    if protocol == "stead_fewshot":
        config.data.magnitude_type = "ml"  # the published few-shot figures are for ML alone
    return config
