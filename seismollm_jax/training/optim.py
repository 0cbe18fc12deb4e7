"""Optimisers and the learning-rate cycle, with PyTorch's definitions."""

import dataclasses
import math

import optax


@dataclasses.dataclass(frozen=True)
class Triangle:
    """Learning rate that rises linearly for `up` steps, falls for `down`, and starts again.

    Evaluated on the host in double precision, so that far into a run the rate is still exact.
    """

    base: float
    maximum: float
    up: int
    down: int

    def __post_init__(self) -> None:
        if self.up < 1 or self.down < 1:
            raise ValueError("optim.up_steps and optim.down_steps must be at least 1")

    def __call__(self, step: int) -> float:
        """The rate of optimiser step `step`, counted from 0."""
        total = float(self.up + self.down)
        peak = self.up / total
        x = 1.0 + step / total - math.floor(1 + step / total)
        scale = x / peak if x <= peak else (x - 1) / (peak - 1)
        return self.base + (self.maximum - self.base) * scale


def make_optimizer(
    name: str, *, weight_decay: float, momentum: float
) -> optax.GradientTransformation:
    """The direction of a step; the caller multiplies it by minus the learning rate.

    As in PyTorch, `adam` and `sgd` add weight decay to the gradient, `adamw` to the step.

    Raises:
        ValueError: unknown name.
    """
    decay = [optax.add_decayed_weights(weight_decay)] if weight_decay else []
    if name == "adam":
        return optax.chain(*decay, optax.scale_by_adam())
    if name == "adamw":
        return optax.chain(optax.scale_by_adam(), *decay)
    if name == "sgd":
        return optax.chain(*decay, optax.trace(momentum))
    raise ValueError(f"optim.name={name!r} is not one of adam, adamw, sgd")
