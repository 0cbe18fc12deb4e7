"""How windows overlap, by their length."""

import pytest

from seismollm_jax.inference.options import parse


@pytest.mark.parametrize(
    ("window", "rate", "overlap", "stacking"),
    [(3000, 50.0, 0.5, "avg"), (3001, 50.0, 0.9, "max"), (8192, 100.0, 0.9, "max")],
)
def test_windows_of_more_than_a_minute_overlap_more(
    window: int, rate: float, overlap: float, stacking: str
) -> None:
    made = parse({}, window, rate)
    assert (made.overlap, made.stacking) == (overlap, stacking)
    given = parse({"overlap": 0.25}, window, rate)
    assert (given.overlap, given.stacking) == (0.25, stacking)
    assert parse({"stacking": "avg"}, window, rate).stacking == "avg"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"stacking": "median"}, "give 'avg' or 'max'"), ({"overlap": 8192}, "overlap is 8192")],
)
def test_what_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(options, 8192, 50.0)
