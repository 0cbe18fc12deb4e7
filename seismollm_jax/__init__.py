"""SeisMoLLM in JAX: picks, polarities, magnitudes, back-azimuths and distances from seismograms."""

from importlib.metadata import version

__version__ = version("seismollm_jax")


def __getattr__(name: str):
    # Loaded on first use: loader workers import this package and must not pull in ObsPy.
    if name in ("load", "Predictor"):
        from seismollm_jax.inference import predictor

        return getattr(predictor, name)
    if name in ("load_events", "EventPredictor"):
        from seismollm_jax.inference.events import predictor as events

        return getattr(events, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["EventPredictor", "Predictor", "__version__", "load", "load_events"]
