"""Which S belongs to which P."""

import random

from obspy import UTCDateTime

from seismollm_jax.inference.events.pairs import SHORTEST_SP_S, pair
from seismollm_jax.inference.picks import Pick

START = UTCDateTime(2024, 1, 1)


def picks(text: str, trace_id: str = "XX.A..HH") -> list[Pick]:
    """From "P0 S2.5": phases and seconds."""
    found = []
    for word in text.split():
        time = START + float(word[1:])
        times = {"start_time": time, "peak_time": time, "end_time": time}
        found.append(Pick(trace_id=trace_id, peak_value=0.9, phase=word[0], **times))
    return found


def paired(text: str, longest_sp_s: float = 30.0) -> str:
    """Pairs of the picks in a text, in any order, as seconds of "P-S"."""
    shuffled = picks(text)
    random.Random(0).shuffle(shuffled)
    return " ".join(
        f"{p.peak_time - START:g}-" + ("" if s is None else f"{s.peak_time - START:g}")
        for p, s in pair(shuffled, longest_sp_s)
    )


def test_the_nearest_s_before_the_next_p() -> None:
    assert paired("P0 S2.5") == "0-2.5"
    assert paired("P0 S2.5 S4") == "0-2.5"
    assert paired("P0 P3 S5") == "0- 3-5"
    assert paired("P0 S4 P10 S11 P20") == "0-4 10-11 20-"


def test_what_has_no_partner() -> None:
    assert paired("") == ""
    assert paired("S1 P2") == "2-"
    assert paired("S1 S2") == ""
    assert paired("P0 P5 S5") == "0- 5-"  # an S at the next P is not before it
    assert paired("P0 S30") == "0-30"
    assert paired("P0 S30.01") == "0-"
    assert paired("P0 S30.01", longest_sp_s=31) == "0-30.01"


def test_p_taken_for_s_is_passed_over() -> None:
    near = SHORTEST_SP_S / 2
    assert paired(f"P0 S{near} S1.5") == "0-1.5"
    assert paired(f"P0 S{near}") == "0-"


def test_records_stay_apart() -> None:
    found = pair(picks("P0 S9", "XX.A..HH") + picks("P1 S2", "XX.A..HN"), 30)
    assert [(p.trace_id[-2:], s.peak_time - START) for p, s in found if s] == [("HH", 9), ("HN", 2)]
