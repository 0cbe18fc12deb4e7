"""Tiny networks for all five tasks, and the metadata of the stations they are tried on."""

from pathlib import Path
from typing import Any

from obspy import UTCDateTime
from obspy.core.inventory import Channel, Inventory, Network, Station

import seismollm_jax as sj
from tests import setups

WINDOW = 640
PLACE = (47.5, 11.5)
CHANGES: dict[str, dict[str, Any]] = {
    "picking": {},
    "polarity": {"data.p_position_ratio": 0.4},
    "magnitude": {"data.normalisation": "joint_std"},  # windows drawn
    "distance": {"data.sampling_rate_hz": 50.0, "data.p_position_ratio": 0.25},
    "back_azimuth": {"data.p_position_ratio": 0.4},
}


def folders(root: Path) -> dict[str, Path]:
    """A working directory for each task."""
    for task, changes in CHANGES.items():
        if not (root / task / "checkpoints").exists():
            changes = {"precision.matmul": "highest", **changes}
            setups.save_random(root / task, setups.config(task, changes=changes))
    return {task: root / task for task in CHANGES}


def load(root: Path, **options: Any) -> sj.EventPredictor:
    """All five, with thresholds that noise passes now and then."""
    options = {"batch_size": 8, "p_threshold": 0.5, "s_threshold": 0.5} | options
    return sj.load_events(**folders(root), **options)


def inventory(*stations: str, azimuth: float = 0.0, names: str = "ZNE") -> Inventory:
    """Stations "NET.STA" at one place, with an instrument HH turned clockwise by an angle."""
    place = {"latitude": PLACE[0], "longitude": PLACE[1], "elevation": 0.0}
    networks = []
    for name in stations:
        network, code = name.split(".")
        channels = [
            Channel(f"HH{c}", "", depth=0.0, azimuth=a, dip=dip, sample_rate=100, **place)
            for c, a, dip in zip(names, (0, azimuth, azimuth + 90), (-90, 0, 0), strict=True)
        ]
        site = Station(code, channels=channels, start_date=UTCDateTime(2000, 1, 1), **place)
        networks.append(Network(network, stations=[site]))
    return Inventory(networks=networks, source="test")
