"""A built-in synthetic dataset with the physics of local earthquakes, in STEAD's layout."""

from seismollm_jax.data.synthetic.dataset import Summary, write

__all__ = ["Summary", "write"]
