"""Distance (dis): epicentral distance in kilometres, 0 to 500."""

from seismollm_jax.tasks import number

TASK = number.bounded(
    name="distance",
    short_name="dis",
    title="epicentral distance",
    label="distance_km",
    largest=500.0,
    unit="km",
)
