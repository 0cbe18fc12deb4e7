"""How strongly the ground moved at a pick: peak velocity in m/s, with an inventory's responses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from obspy import Inventory, Trace, UTCDateTime
from obspy.core.inventory import Channel

from seismollm_jax.data.resampling import grid_index

if TYPE_CHECKING:
    from seismollm_jax.inference.picks import Pick
    from seismollm_jax.inference.streams import Segment

P_WINDOW_S = 5.0  # after a P; less where the next pick comes sooner
S_WINDOW_S = (10.0, 30.0)  # after an S: as long as S minus P, but within these; up to the next P
PAD_S = 10.0  # on either side of a window, where there is data; the outer half is tapered
MOTION = re.compile(r"[NMC]?M(/.*)?", re.IGNORECASE)  # units such as M/S, nm/s and M/S**2
LEAST_S = 1.0  # of window and of padding after it
BAND_HZ = (0.3, 0.5)  # corners where the band begins: full from the second one on
WATER_LEVEL_DB = 60.0  # responses are not taken for weaker than that below their largest value
BAND_END = (0.36, 0.45)  # where it ends, shares of the lower one of the two sampling rates


def measure(picks: Sequence[Pick], segment: Segment, inventory: Inventory) -> None:
    """Enter peak ground velocity and its period into picks, or why there is none.

    The window of a P ends with the next pick, after 5 s at the latest; that of an S is as long as
    S minus P, but 10 to 30 s, and ends with the next P. Each component with a response is turned
    into velocity (ObsPy's `remove_response`, 0.5 Hz to 0.36 of the sampling rate) over the window
    and its surroundings, and the largest absolute value of all components is taken. Horizontals
    that were turned to north and east keep the response of the channel they are named after.

    Args:
        picks: of the segment, by time; `peak_velocity_m_s`, `peak_period_s` and `no_amplitude` are
            set.
        segment: ground motion in the units that the responses are for, counts as a rule.
        inventory: with responses of its channels.
    """
    channels = _Channels(inventory)
    for number, pick in enumerate(picks):
        pick.peak_velocity_m_s = pick.peak_period_s = None
        window = _window(picks, number, segment)
        reasons: list[str] = []
        for column, codes in enumerate(segment.channels):
            if not codes:
                continue
            try:
                found = _peak(segment, column, window, channels, pick.peak_time)
            except LookupError as error:
                reasons.append(str(error.args[0]))
                continue
            if pick.peak_velocity_m_s is None or found[0] > pick.peak_velocity_m_s:
                pick.peak_velocity_m_s, pick.peak_period_s = found
        none = pick.peak_velocity_m_s is None
        pick.no_amplitude = "; ".join(dict.fromkeys(reasons)) if none else ""


def remarks(picks: Iterable[Pick]) -> list[str]:
    """How many picks are without an amplitude, and why."""
    counts = Counter(pick.no_amplitude for pick in picks if pick.no_amplitude)
    return [
        f"no amplitude of {count} pick{'s' * (count != 1)}: {why}" for why, count in counts.items()
    ]


class _Channels:
    """The channels of an inventory; looked up once, and their responses tried once."""

    def __init__(self, inventory: Inventory):
        self.inventory = inventory
        self._known: dict[str, list[Channel]] = {}
        self._useless: dict[int, str] = {}

    def find(self, name: str, time: UTCDateTime) -> Channel:
        """The epoch of a channel, with a response.

        Raises:
            LookupError: there is none.
        """
        if name not in self._known:
            network, station, location, code = name.split(".")
            self._known[name] = [
                channel
                for net in self.inventory
                if net.code == network
                for site in net
                if site.code == station
                for channel in site
                if channel.location_code == location and channel.code == code
            ]
        for channel in self._known[name]:
            begin, end = channel.start_date or time, channel.end_date or time
            response = channel.response
            if begin <= time <= end and response is not None and response.response_stages:
                if why := self._useless.get(id(channel)):
                    raise LookupError(why)
                return channel
        raise LookupError(f"the inventory has no response of {name}")

    def velocity(self, name: str, channel: Channel, trace: Trace) -> np.ndarray:
        """A trace as ground velocity in m/s.

        Raises:
            LookupError: the response cannot be used.
        """
        rates = [float(trace.stats.sampling_rate), float(channel.sample_rate or np.inf)]
        ends = [share * min(rates) for share in BAND_END]
        try:
            units = channel.response.response_stages[0].input_units or ""
            if not MOTION.fullmatch(units):
                raise ValueError(f"its input is in {units or 'no unit'}, not in one of motion")
            if ends[0] <= BAND_HZ[1]:
                raise ValueError(f"{min(rates):g} Hz are too few")
            trace.stats.response = channel.response
            trace.remove_response(
                output="VEL", pre_filt=(*BAND_HZ, *ends), water_level=WATER_LEVEL_DB,
                zero_mean=False, taper=False,
            )  # fmt: skip
            if not np.isfinite(trace.data).all():
                raise ValueError("it is zero within the band")
        except Exception as error:  # of many kinds, where stages or units make no sense
            why = f"the response of {name} cannot be used ({type(error).__name__}: {error})"
            self._useless[id(channel)] = why
            raise LookupError(why) from error
        return np.asarray(trace.data)


def _window(picks: Sequence[Pick], number: int, segment: Segment) -> tuple[int, int]:
    """First sample of a pick's window and the one after the last, seen from the segment's."""
    pick, rest = picks[number], picks[number + 1 :]
    start = pick.peak_time
    if pick.phase[:1] == "P":
        length, ends = P_WINDOW_S, rest[:1]
    else:
        before = next((p for p in reversed(picks[:number]) if p.phase[:1] == "P"), None)
        apart = 0.0 if before is None else start - before.peak_time
        length = float(np.clip(apart, *S_WINDOW_S)) if apart <= S_WINDOW_S[1] else S_WINDOW_S[0]
        ends = [p for p in rest[:50] if p.phase[:1] == "P"][:1]
    rate, first = segment.sampling_rate_hz, grid_index(start.ns, segment.sampling_rate_hz)
    for other in ends:
        length = min(length, other.peak_time - start)
    # Two phases may be picked at once; then both have the least window.
    length = max(length, LEAST_S)
    return first - segment.anchor, first - segment.anchor + round(length * rate)


def _peak(
    segment: Segment, column: int, window: tuple[int, int], channels: _Channels, time: UTCDateTime
) -> tuple[float, float | None]:
    """Peak velocity and its period on one component.

    Raises:
        LookupError: no response, or no data.
    """
    rate, codes = segment.sampling_rate_hz, segment.channels[column].split("+")
    site = segment.trace_id.rpartition(".")[0]
    first, end = window
    pad, least = round(PAD_S * rate), round(LEAST_S * rate)
    begin = max(0, first - pad)
    valid = segment.valid[begin : end + pad, column]
    gaps = np.flatnonzero(~valid)
    here = first - begin
    before = gaps[gaps < here]
    left = int(before[-1]) + 1 if len(before) else 0
    after = gaps[gaps >= here]
    right = int(after[0]) if len(after) else len(valid)
    end = min(end - begin, right - least)
    if end - here < least:
        raise LookupError(f"no data of {site}.{codes[0]} after the pick")
    data = segment.data[begin + left : begin + right, column].astype(np.float64)
    ahead = here - left
    data -= data[:ahead].mean() if ahead else data.mean()
    for side, room in ((data, ahead), (data[::-1], right - end)):
        tapered = max(1, min(room, pad // 2))
        side[:tapered] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(tapered) / tapered)
    error: LookupError | None = None
    for code in codes:  # several where they took turns
        name = f"{site}.{code}"
        try:
            channel = channels.find(name, time)
            trace = Trace(data.copy(), {"sampling_rate": rate})
            velocity = channels.velocity(name, channel, trace)
        except LookupError as problem:
            error = error or problem
            continue
        place = ahead + int(np.abs(velocity[ahead : end - left]).argmax())
        return float(abs(velocity[place])), _period(velocity, place, rate)
    assert error is not None
    raise error


def _period(velocity: np.ndarray, place: int, rate_hz: float) -> float | None:
    """Twice the time between the zero crossings on either side of a sample, seconds."""
    same = velocity * np.sign(velocity[place]) > 0
    before, after = np.flatnonzero(~same[:place]), np.flatnonzero(~same[place:])
    if not len(before) or not len(after):
        return None
    left, right = int(before[-1]), place + int(after[0])

    def crossing(outside: int, inside: int) -> float:
        a, b = float(velocity[outside]), float(velocity[inside])
        return outside + (inside - outside) * a / (a - b)

    return 2 * (crossing(right, right - 1) - crossing(left, left + 1)) / rate_hz
