"""What a task asks of a model's last layer, in terms every model family can honour."""

import dataclasses

import jax
import jax.numpy as jnp

ACTIVATIONS = {
    "sigmoid": jax.nn.sigmoid,
    "softmax": lambda x: jax.nn.softmax(x, axis=-1),
    "tanh": jnp.tanh,
}


@dataclasses.dataclass(frozen=True)
class Output:
    """Shape and range of a model's output.

    Attributes:
        per_sample: True for one vector per waveform sample, (batch, samples, channels); False for
            one vector per window, (batch, channels).
        channels: length of that vector.
        activation: key of `ACTIVATIONS`, applied last.
        scale: factor after the activation; the output of a sigmoid lies in (0, scale).
    """

    per_sample: bool
    channels: int
    activation: str
    scale: float = 1.0

    def activate(self, logits: jax.Array) -> jax.Array:
        """The activation in float32 whatever the compute dtype; the losses take its logarithm."""
        return self.scale * ACTIVATIONS[self.activation](logits.astype(jnp.float32))
