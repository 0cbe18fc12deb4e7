"""Which S belongs to which P, on one record."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from seismollm_jax.inference.picks import Pick

SHORTEST_SP_S = 0.2
"""A shorter S minus P, some 1.6 km, is P taken for S as well."""


def pair(picks: Iterable[Pick], longest_sp_s: float) -> list[tuple[Pick, Pick | None]]:
    """Every P with the S that follows it, or with None.

    To a P belongs the first S on the same trace_id that comes after it by `SHORTEST_SP_S` or more,
    before the next P there, and no later than `longest_sp_s`. An S may so be left over, and a P be
    without one. What is decided about a P follows from the picks of the `longest_sp_s` after it
    alone.

    Args:
        picks: of any phases, records and order.
        longest_sp_s: largest S minus P.

    Returns:
        The pairs by time of P, then trace_id.
    """
    records: dict[str, dict[str, list[Pick]]] = {}
    for pick in sorted(picks, key=lambda pick: pick.peak_time.ns):
        records.setdefault(pick.trace_id, {}).setdefault(pick.phase, []).append(pick)
    found: list[tuple[Pick, Pick | None]] = []
    for phases in records.values():
        s_picks = phases.get("S", [])
        s_times = [pick.peak_time.ns for pick in s_picks]
        p_picks = phases.get("P", [])
        for number, p in enumerate(p_picks):
            following = p_picks[number + 1 : number + 2]
            place = bisect_left(s_times, p.peak_time.ns + round(SHORTEST_SP_S * 1e9))
            s = s_picks[place] if place < len(s_picks) else None
            if s is not None and (
                s.peak_time.ns > p.peak_time.ns + round(longest_sp_s * 1e9)
                or any(s.peak_time.ns >= next_p.peak_time.ns for next_p in following)
            ):
                s = None
            found.append((p, s))
    found.sort(key=lambda both: (both[0].peak_time.ns, both[0].trace_id))
    return found
