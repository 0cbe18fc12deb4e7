"""Magnitude (emg): the event's magnitude as its catalogue gives it, 0 to 8."""

from seismollm_jax.tasks import number

TASK = number.bounded(
    name="magnitude",
    short_name="emg",
    title="event magnitude",
    label="magnitude",
    largest=8.0,
    unit="",  # a pure number
)
