"""Which thresholds a network is used with: those of an operating point, or given by hand."""

from collections.abc import Mapping
from typing import Any

from seismollm_jax.tasks.base import Context, Task

F1, FALSE_PICKS, CONFIG = "f1", "false_picks", "config"
CHOICES = (F1, FALSE_PICKS, CONFIG)
"""Operating points: the best F1 of the validation, a rate of false picks on noise, the options."""

WORDS = {
    F1: "best F1 of the validation",
    FALSE_PICKS: "few false picks on noise of the validation",
    CONFIG: "configuration",
    "given": "as asked for",
}
REMEDY = "eval.py --split=val --choose_thresholds chooses and stores them"


def decide(
    task: Task,
    context: Context,
    description: Mapping[str, Any],
    point: str | None = None,
    given: Mapping[str, float | None] | None = None,
) -> tuple[Context, dict[str, Any]]:
    """The context with the thresholds to use, and what they are, for reports.

    Args:
        task: of the network.
        context: with the thresholds of the configuration.
        description: of the checkpoint; its `operating_points`, if there are any.
        point: one of `CHOICES`. None takes the one of the best F1 if it is stored, otherwise the
            configuration.
        given: thresholds by short name ("p", "s"), which come before all others; None is absent.

    Returns:
        The context, and for each threshold its value and where it is from:
        {"p": 0.41, "p_from": "f1", ...}. A phase that an operating point lacks has the
        configuration's.

    Raises:
        ValueError: the task has no such thresholds, no such point is stored, or a threshold is not
            between 0 and 1.
    """
    asked = {name: value for name, value in (given or {}).items() if value is not None}
    options = {threshold.short: threshold.option for threshold in task.thresholds.values()}
    if unknown := sorted(asked.keys() - options.keys()):
        raise ValueError(
            f"{task.name} has no threshold {', '.join(unknown)}; it has "
            f"{', '.join(options) or 'none'}"
        )
    if point is not None and not options:
        raise ValueError(f"{task.name} has no thresholds, so no operating point {point!r} either")
    if point not in (None, *CHOICES):
        raise ValueError(f"operating point {point!r} is not one of {', '.join(CHOICES)}")
    stored = description.get("operating_points") or {}
    if point in (F1, FALSE_PICKS) and not stored.get(point):
        noise = " and needs noise traces in the validation part" if point == FALSE_PICKS else ""
        raise ValueError(
            f"the checkpoint has no operating point {point!r}: {REMEDY}{noise}; or use "
            f"--operating_point={CONFIG}"
        )
    point = point or (F1 if stored.get(F1) else CONFIG)
    chosen: dict[str, float] = {}
    used: dict[str, Any] = {}
    for short, option in options.items():
        source = point if short in stored.get(point, {}) else CONFIG
        value = stored[point][short] if source != CONFIG else getattr(context.options, option)
        if short in asked:
            source, value = "given", asked[short]
        if not 0 <= value <= 1:
            raise ValueError(f"{option}={value} is not between 0 and 1")
        chosen[option] = float(value)
        used |= {short: float(value), f"{short}_from": source}
    return (context.with_options(**chosen) if chosen else context), used


def line(used: Mapping[str, Any]) -> str:
    """What `decide` found, in words; empty for a task without thresholds."""
    parts = [
        f"{short.upper()} {used[short]:g} ({WORDS[used[f'{short}_from']]})"
        for short in used
        if not short.endswith("_from")
    ]
    return "thresholds: " + ", ".join(parts) if parts else ""
