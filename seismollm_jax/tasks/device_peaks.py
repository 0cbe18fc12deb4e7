"""The rule of `metrics.peaks` for an accelerator: the same picks, without the curves leaving it."""

import jax
import jax.numpy as jnp

from seismollm_jax.metrics.phases import NO_PICK


def pick_batch(
    probability: jax.Array, threshold: float, min_distance: int, max_picks: int = 1
) -> tuple[jax.Array, jax.Array]:
    """Picks every trace of a batch as `metrics.peaks.pick_batch` does.

    Args:
        probability: (batch, samples), compared in float32.
        threshold: smallest height of a pick, inclusive.
        min_distance: samples; 1 or less removes nothing.
        max_picks: number of slots a trace.

    Returns:
        Sample indices (batch, max_picks) int32, in order of time from the left, NO_PICK in the
        slots left over, and the probability at each pick (batch, max_picks) float32, nan there.

    Raises:
        ValueError: `max_picks` is below 1.
    """
    if max_picks < 1:
        raise ValueError(f"the number of picks to keep must be 1 or more, not {max_picks}")
    curves = probability.astype(jnp.float32)
    samples = curves.shape[1]
    slots = min(max_picks, samples)
    before, here, after = curves[:, :-2], curves[:, 1:-1], curves[:, 2:]
    # Two infinite samples side by side have no difference, so neither of them is a peak.
    peak = (here >= jnp.float32(threshold)) & (here > before) & (after <= here)
    peak &= ~(jnp.isinf(here) & (after == here))
    heights = jnp.pad(jnp.where(peak, here, -jnp.inf), ((0, 0), (1, 1)), constant_values=-jnp.inf)
    heights = heights[:, :samples]  # more than these only if there is nothing between two ends
    # Of equal heights the earlier place comes first, so time runs backwards here.
    height, place = jax.lax.top_k(heights[:, ::-1], slots)
    sample = samples - 1 - place
    alive = height > -jnp.inf
    if min_distance > 1:
        for slot in range(slots):  # from the highest down
            near = jnp.abs(sample - sample[:, slot : slot + 1]) <= min_distance
            lower = jnp.arange(slots) > slot
            alive &= ~(alive[:, slot : slot + 1] & near & lower)
    missing = ((0, 0), (0, max_picks - slots))
    order = jnp.argsort(jnp.where(alive, sample, samples), axis=1)
    picks = jnp.take_along_axis(jnp.where(alive, sample, NO_PICK), order, 1)
    found = jnp.take_along_axis(jnp.where(alive, height, jnp.nan), order, 1)
    return (
        jnp.pad(picks.astype(jnp.int32), missing, constant_values=NO_PICK),
        jnp.pad(found, missing, constant_values=jnp.nan),
    )
