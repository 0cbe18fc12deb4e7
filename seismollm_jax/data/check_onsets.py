"""Whether arrivals, component order and back azimuths fit the motion that the traces show.

Each is judged over many traces together, by measures that say nothing much about a single one:

- The vertical is where S is weakest against P, whatever the gains of the components.
- The variance of the vertical changes at P.
- The first P wave moves in the plane of the ray: up and away from the earthquake, or down and
  towards it.

All are taken from differences between samples, which removes means and slow drifts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seismollm_jax.data.check_findings import ERROR, WARNING, Finding
from seismollm_jax.data.check_places import apart
from seismollm_jax.data.records import COMPONENTS, Dataset

ONSETS = (
    ("p_db", np.float32, 3),  # power of P, noise subtracted; Z, N, E
    ("s_db", np.float32, 3),
    ("step_db", np.float32),  # power after P over that before
    ("offset_s", np.float32),  # of the largest change of variance from P
    ("azimuth_deg", np.float32),  # that the first motion comes from
)
FEWEST = 20  # traces for a judgement
LOWEST_RATE_HZ = 5.0  # below, a second is too few samples
CLEAR_DB = 6.0  # step at P from which on a trace is used
VERTICAL = 0.5  # share of traces in which the vertical should win; 0.8 and more are usual
ANOTHER = 0.6  # share with which another component is the vertical
NO_STEP_DB = 3.0
SHIFT_S, LARGE_SHIFT_S = 0.2, 0.5
FEWEST_MOTIONS = 50
SECTOR_DEG = 45.0  # a quarter of all directions lie within it
AGREE, GAIN = 0.5, 0.25


def measure_onsets(
    entry: np.void,
    waveform: np.ndarray | None,
    rate_hz: float,
    p_sample: float,
    s_sample: float,
    back_azimuth_deg: float,
) -> None:
    """Fill in `ONSETS`, NaN where the trace does not allow it or `waveform` is None.

    `waveform` is (samples, 3), Z, N, E. The first motion is measured where there is a back azimuth.
    """
    for name, *_ in ONSETS:
        entry[name] = np.nan
    second = rate_hz
    if waveform is None or rate_hz < LOWEST_RATE_HZ:
        return
    if not 3 * second <= p_sample <= len(waveform) - second:
        return
    p = int(p_sample)
    s = int(s_sample) if p + 0.4 * second < s_sample <= len(waveform) - second else None
    first = max(p - int(3 * second), 0)
    moves = np.diff(waveform[first:].astype(np.float64), axis=0)
    power = moves**2
    noise = power[: int(2.7 * second)].mean(axis=0)
    at_p, end = p - first, p - first + int(second)
    if s is not None:
        end = min(end, at_p + int(0.7 * (s - p)))
    tiny = 1e-12 * power.max() + 1e-300
    loud = power[at_p:end].mean(axis=0)
    before = power[at_p - int(second) : at_p - int(0.1 * second)].mean(axis=0)
    entry["step_db"] = 10 * np.log10((loud.sum() + tiny) / (before.sum() + tiny))
    entry["offset_s"] = _change(power[:, 0], at_p - int(2 * second), at_p + int(2 * second), at_p)
    entry["offset_s"] /= second
    if entry["step_db"] < CLEAR_DB:
        return
    entry["p_db"] = 10 * np.log10(np.maximum(loud - noise, 0.01 * noise) + tiny)
    if s is not None:
        late = power[s - first : s - first + int(second)].mean(axis=0)
        entry["s_db"] = 10 * np.log10(np.maximum(late - noise, 0.01 * noise) + tiny)
    if np.isfinite(back_azimuth_deg):
        z, north, east = moves[at_p : at_p + max((end - at_p) // 2, 5)].T
        # Up and away, or down and towards: the horizontal that goes with Z points away.
        entry["azimuth_deg"] = np.degrees(np.arctan2(-z @ east, -z @ north)) % 360


def _change(power: np.ndarray, first: int, last: int, at: int) -> float:
    """Where the variance changes most between two samples, from `at` on; NaN if hardly at all."""
    part = power[max(first, 0) : last]
    n = len(part)
    sums = np.cumsum(part)
    count = np.arange(1, n)
    before = sums[:-1] / count
    after = (sums[-1] - sums[:-1]) / (n - count)
    floor = 1e-12 * (sums[-1] / n) + 1e-300
    # The likelihood of two Gaussians, as in the pickers by Akaike's criterion.
    cost = count * np.log(before + floor) + (n - count) * np.log(after + floor)
    edge = n // 20 + 1
    inner = cost[edge : n - 1 - edge]
    best = int(np.argmin(inner))
    at_edge = best in (0, len(inner) - 1)  # the change lies outside
    best += edge
    if at_edge or after[best] < 4 * before[best]:
        return np.nan
    return float(max(first, 0) + best + 2 - at)  # a difference belongs to its second sample


def onset_findings(dataset: Dataset, measures: np.ndarray) -> tuple[list[Finding], dict[str, Any]]:
    """What the measures of all traces say, and the figures for the report."""
    found: list[Finding] = []
    figures: dict[str, Any] = {}
    orders = dataset.table["component_order"].iloc[measures["row"]].astype(str).to_numpy()
    for order in np.unique(orders):
        findings, figures[f"component_order {order}"] = _order(measures[orders == order], order)
        found += findings
    findings, figures["p_onset"] = _arrivals(measures)
    found += findings
    findings, figures["first_motion"] = _directions(dataset, measures)
    if not any(finding.name == "component_order" for finding in found):  # which explains it
        found += findings
    return found, figures


def _order(measures: np.ndarray, order: str) -> tuple[list[Finding], dict[str, Any]]:
    ratio = measures["s_db"] - measures["p_db"]
    judged = np.isfinite(ratio).all(axis=1)
    n = int(judged.sum())
    if n < FEWEST:
        return [], {"traces": n}
    share = np.bincount(ratio[judged].argmin(axis=1), minlength=3) / n
    levels = {
        name: np.median(values[judged] - values[judged].mean(axis=1, keepdims=True), axis=0)
        for name, values in (("p", measures["p_db"]), ("s", measures["s_db"]))
    }
    figures = {
        "traces": n,
        "s_over_p_smallest": dict(zip(COMPONENTS, share.round(3).tolist(), strict=True)),
        **{
            f"{phase}_relative_db": dict(zip(COMPONENTS, map(_short, level), strict=True))
            for phase, level in levels.items()
        },
    }
    winner = int(share.argmax())
    shares = ", ".join(f"{c} {100 * x:.0f} %" for c, x in zip(COMPONENTS, share, strict=True))
    common = f"; S is weakest against P on {shares} of {n} traces, where Z should lead by far"
    remedy = "Compare the component order of the table with what is in the files."
    if winner and share[winner] >= ANOTHER:
        text = f"with the component order {order}, what is taken for {COMPONENTS[winner]} behaves "
        text += f"like the vertical{common}"
        return [Finding(ERROR, "component_order", n, "traces", text, remedy)], figures
    if share[0] < VERTICAL:
        text = f"with the component order {order}, Z is not clearly the vertical{common}"
        return [Finding(WARNING, "component_order", n, "traces", text, remedy)], figures
    return [], figures


def _short(value: float) -> float:
    return round(float(value), 2)


def _arrivals(measures: np.ndarray) -> tuple[list[Finding], dict[str, Any]]:
    steps = measures["step_db"][np.isfinite(measures["step_db"])]
    if len(steps) < FEWEST:
        return [], {"traces": len(steps)}
    step = _short(np.median(steps))
    offsets = measures["offset_s"][np.isfinite(measures["offset_s"])]
    figures: dict[str, Any] = {"traces": len(steps), "median_step_db": step}
    found = []
    if len(offsets) >= max(FEWEST, len(steps) / 2):
        low, middle, high = (_short(q) for q in np.percentile(offsets, [25, 50, 75]))
        figures |= {"offset_traces": len(offsets), "offset_quartiles_s": [low, middle, high]}
        if abs(middle) >= SHIFT_S and high - low < abs(middle):
            direction = "late" if middle < 0 else "early"
            level = ERROR if abs(middle) >= LARGE_SHIFT_S else WARNING
            text = f"P is too {direction} by about {abs(middle):.2f} s throughout: the onset of "
            text += f"half of {len(offsets)} traces is {low:+.2f} to {high:+.2f} s from it"
            remedy = "Check the sampling rate, and from which sample on arrivals are counted."
            found.append(Finding(level, "p_shifted", len(offsets), "traces", text, remedy))
    if not found and step < NO_STEP_DB:
        text = f"nothing begins at P: the power rises by {step:g} dB at the median of {len(steps)} "
        text += "traces, where 10 and more are usual"
        remedy = "Check the sampling rate, from which sample on arrivals are counted, and whether "
        remedy += "they were picked at all or come from travel-time tables."
        found.append(Finding(WARNING, "no_onset", len(steps), "traces", text, remedy))
    return found, figures


def _directions(dataset: Dataset, measures: np.ndarray) -> tuple[list[Finding], dict[str, Any]]:
    given = dataset.table["back_azimuth_deg"].to_numpy(np.float64)[measures["row"]]
    seen = measures["azimuth_deg"].astype(np.float64)
    orders = dataset.table["component_order"].iloc[measures["row"]].astype(str)
    oriented = ~orders.str.contains("[12]").to_numpy(bool)
    judged = np.isfinite(given) & np.isfinite(seen) & oriented
    n = int(judged.sum())
    if n < FEWEST_MOTIONS:
        return [], {"traces": n}
    given, seen = given[judged], seen[judged]
    explanations = {
        "as it is": seen,
        "if N and E were exchanged": 90 - seen,
        "if the back azimuths were turned by 180 degrees, or Z upside down": seen + 180,
        "if N were upside down": 180 - seen,
        "if E were upside down": -seen,
    }
    share = {
        why: float((apart(direction, given) <= SECTOR_DEG).mean())
        for why, direction in explanations.items()
    }
    figures = {"traces": n, "agree": {why: round(value, 3) for why, value in share.items()}}
    best = max(share, key=lambda why: share[why])
    if share[best] < AGREE or share[best] < share["as it is"] + GAIN:
        return [], figures
    text = f"the first motion of P comes from the back azimuth to {SECTOR_DEG:g} degrees in "
    text += f"{100 * share['as it is']:.0f} % of {n} traces (by chance in 25 %), but would in "
    text += f"{100 * share[best]:.0f} % {best}"
    remedy = "Check the order and the signs of the components, and the back azimuths."
    return [Finding(WARNING, "first_motion_direction", n, "traces", text, remedy)], figures
