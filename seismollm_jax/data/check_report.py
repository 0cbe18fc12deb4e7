"""What the dataset doctor found, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Mapping
from typing import Any

from seismollm_jax.data.check_findings import LEVELS, Finding, listed

WIDTH = 96
SHOWN = 3  # examples of a finding


def as_json(document: Mapping[str, Any]) -> str:
    """The findings of `check` as one JSON document."""
    findings = [dataclasses.asdict(finding) for finding in document.get("findings", [])]
    return json.dumps({**document, "findings": findings}, indent=1, allow_nan=False)


def as_text(document: Mapping[str, Any]) -> str:
    """The findings of `check` as text of at most 96 columns, but for names that are longer."""
    sections = [
        _block("", _contents(document)),
        _block("labels of earthquake traces", _labels(document)),
        _block("traces that each task can use", _tasks(document["tasks"])),
        _block("the reader says", [f"{n:>9}  {text}" for text, n in document["reader"].items()]),
        _block("splits", _splits(document["splits"])),
        *(_finding(finding) for finding in document["findings"]),
        totals(document["findings"]),
    ]
    return "\n\n".join(section for section in sections if section)


def totals(findings: list[Finding]) -> str:
    """How many findings of each level there are."""
    counts = [sum(f.level == level for f in findings) for level in LEVELS]
    if not sum(counts):
        return "Nothing wrong was found."
    words = [f"{n} {level}{'' if n == 1 else 's'}" for n, level in zip(counts, LEVELS, strict=True)]
    return ", ".join(words)


def _block(title: str, lines: list[str]) -> str:
    indented = [_wrapped(line) for line in lines]
    return "\n".join([title, *indented] if title else indented) if lines else ""


def _wrapped(line: str, indent: str = "  ") -> str:
    hanging = indent + " " * 15
    return textwrap.fill(
        line, WIDTH, initial_indent=indent, subsequent_indent=hanging, break_long_words=False,
        break_on_hyphens=False, drop_whitespace=True, replace_whitespace=False,
    )  # fmt: skip


def _contents(document: Mapping[str, Any]) -> list[str]:
    found, read = document["contents"], document["waveforms"]
    events = f"{found['events']}"
    if found["traces_per_event"]:
        spread = found["traces_per_event"]
        events += " with {min} to {max} traces, median {median}".format(**spread)
    stations = f"{found['stations']} in {found['networks']} networks"
    if found["instruments"]:
        stations += f"; instruments {listed(found['instruments'])}"
    files = f"{found['files']} ({found['storage']}), the first {found['first_file']}"
    if found["bytes"] is not None:
        files += f", {found['bytes'] / 1e6:.1f} MB"
    rates = {f"{rate} Hz:": n for rate, n in found["sampling_rates_hz"].items()}
    orders = {f"{order}:": n for order, n in found["component_orders"].items()}
    lines = [
        ("traces", f"{found['traces']}: {found['earthquake_traces']} of earthquakes, "
         f"{found['noise_traces']} of noise"),
        ("events", events),
        ("stations", stations),
        ("start times", f"{found['first_start']} to {found['last_start']}"
         if found["first_start"] else "none"),
        ("sampling", next(iter(rates)).rstrip(":") if len(rates) == 1 else listed(rates)),
        ("components", next(iter(orders)).rstrip(":") if len(orders) == 1 else listed(orders)),
        ("files", files),
        ("waveforms", f"{read['read']} of {read['of']} read"
         + (f" ({read['why_not_all']}; --waveforms all reads every one)"
            if read["why_not_all"] else "")),
    ]  # fmt: skip
    if read["samples"]:
        text = "{max}"
        if read["different_lengths"] > 1:
            text = "{min} to {max}, median {median}; {n} different lengths"
        lines.append(("samples", text.format(n=read["different_lengths"], **read["samples"])))
    lines += _onsets(document["onsets"])
    return [f"{name:<13}  {text}" for name, text in lines]


def _onsets(onsets: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures behind judgements of component order and arrivals."""
    lines = []
    for name, figures in onsets.items():
        if "s_over_p_smallest" in figures:
            shares = figures["s_over_p_smallest"].items()
            text = ", ".join(f"{component} {100 * share:.0f} %" for component, share in shares)
            order = name.rpartition(" ")[2]
            text = f"{order}: S weakest against P on {text} of {figures['traces']} traces"
            lines.append(("vertical", f"{text} (right if Z leads by far)"))
    figures = onsets.get("p_onset", {})
    if "median_step_db" in figures:
        text = f"power rises by {figures['median_step_db']:g} dB at the median"
        if "offset_quartiles_s" in figures:
            low, _, high = figures["offset_quartiles_s"]
            text += f"; onset of half of them {low:+.2f} to {high:+.2f} s from P"
        lines.append(("at P", f"{text} ({figures['traces']} traces)"))
    figures = onsets.get("first_motion", {})
    if "agree" in figures:
        share = next(iter(figures["agree"].values()))
        text = f"within 45 degrees of the back azimuth in {100 * share:.0f} % of "
        lines.append(("first motion", text + f"{figures['traces']} traces (25 % by chance)"))
    return lines


def _labels(document: Mapping[str, Any]) -> list[str]:
    total = document["contents"]["earthquake_traces"]
    lines = []
    for name, found in document["labels"].items():
        text = f"{name:<23}{found['traces']:>9}  {100 * found['traces'] / max(total, 1):>5.1f} %"
        if found.get("range"):
            text += "   {min:g} to {max:g}, median {median:g}".format(**found["range"])
        elif found["traces"] and "up" in found:
            text += f"   {found['up']} up, {found['down']} down"
        elif found["traces"] and name == "magnitude_type":
            text += f"   {listed(document['magnitude_types'])}"
        lines.append(text)
    return lines


def _tasks(tasks: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, found in tasks.items():
        noise = f" and {found['noise_traces']} of noise" if found["noise_traces"] else ""
        lost = ", ".join(f"{n} {reason}" for reason, n in found["left_out"].items())
        text = f"{name:<13}{found['earthquake_traces']:>9}{noise}"
        lines.append(text + (f"; left out: {lost}" if lost else ""))
    return lines


def _splits(splits: Mapping[str, Any]) -> list[str]:
    lines = []
    for by, found in splits.items():
        total = max(sum(found["traces"].values()), 1)
        parts = ", ".join(
            f"{part} {n} ({100 * n / total:.1f} %)" for part, n in found["traces"].items()
        )
        text = f"by {by:<10}  {parts}; in several parts: {found['shared_events']} events with "
        text += f"{found['traces_of_shared_events']} traces, {found['shared_stations']} stations"
        lines.append(text)
    return lines


def _finding(finding: Finding) -> str:
    unit = finding.unit[:-1] if finding.count == 1 else finding.unit
    lines = [f"{finding.level.upper()}  {finding.count} {unit}: {finding.text}"]
    lines = [textwrap.fill(lines[0], WIDTH, subsequent_indent="    ", break_on_hyphens=False)]
    for example in finding.examples[:SHOWN]:
        place = [f"row {example['row']}"] if "row" in example else []
        place += [str(example[key]) for key in ("file", "trace") if key in example]
        fields = [
            str(value) if key == "reason" else f"{key} {'missing' if value is None else value}"
            for key, value in example.items()
            if key not in ("row", "file", "trace")
        ]
        text = f"{', '.join(place)}: {', '.join(fields)}" if place else ", ".join(fields)
        lines.append(_example(text))
    more = finding.count - min(len(finding.examples), SHOWN)
    if finding.examples and more > 0:
        lines.append(f"    and {more} more")
    remedy = textwrap.fill(
        finding.remedy, WIDTH, initial_indent="    -> ", subsequent_indent="       "
    )
    return "\n".join([*lines, remedy])


def _example(text: str) -> str:
    return textwrap.fill(
        text.removesuffix(": "), WIDTH, initial_indent="    ", subsequent_indent="      ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
