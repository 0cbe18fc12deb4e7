"""Optimisers and learning-rate schedules, with PyTorch's definitions."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
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


@dataclasses.dataclass(frozen=True)
class Warmed:
    """Learning rate that rises linearly to its maximum in `up` steps, and what comes then.

    As a "constant" it stays there; as a "cosine" it falls along half a wave to `base` in `down`
    steps (Loshchilov and Hutter 2017, without restarts) and stays there. The first rate is
    `base`; with `up` 0 it is the maximum.
    """

    kind: str
    base: float
    maximum: float
    up: int
    down: int

    def __post_init__(self) -> None:
        if self.up < 0 or self.down < 1:
            raise ValueError(
                f"optim.up_steps is {self.up} and optim.down_steps {self.down}; they must be at "
                "least 0 and 1"
            )

    def __call__(self, step: int) -> float:
        """The rate of optimiser step `step`, counted from 0."""
        if step < self.up:
            return self.base + (self.maximum - self.base) * step / self.up
        if self.kind == "constant":
            return self.maximum
        fallen = min((step - self.up) / self.down, 1.0)
        return self.base + (self.maximum - self.base) * 0.5 * (1 + math.cos(math.pi * fallen))


@dataclasses.dataclass(frozen=True)
class Decaying:
    """A triangle whose height shrinks from step to step.

    PyTorch's CyclicLR in the mode "exp_range" as SeisT was trained with it: the height above `base`
    is multiplied by `base` ** (step / (2 * steps)), which after the last of all `steps` is the
    square root of `base`.
    """

    triangle: Triangle
    steps: int

    def __post_init__(self) -> None:
        if not 0 < self.triangle.base < 1 or self.steps < 1:
            raise ValueError(
                f"optim.base_lr={self.triangle.base} with optim.schedule='exp_range' must lie "
                "between 0 and 1: it says how fast the cycles shrink"
            )

    def __call__(self, step: int) -> float:
        """The rate of optimiser step `step`, counted from 0."""
        base = self.triangle.base
        return base + (self.triangle(step) - base) * (base ** (1 / (2 * self.steps))) ** step


def make_schedule(settings: Mapping[str, Any], steps: int) -> Callable[[int], float]:
    """Step -> learning rate, as the `optim` part of a configuration says.

    Args:
        settings: that part.
        steps: of the whole training.

    Raises:
        ValueError: unknown schedule, or lengths that make none.
    """
    kind = settings["schedule"]
    ends = (settings["base_lr"], settings["max_lr"], settings["up_steps"], settings["down_steps"])
    if kind == "triangle":
        return Triangle(*ends)
    if kind == "exp_range":
        return Decaying(Triangle(*ends), steps)
    if kind in ("cosine", "constant"):
        return Warmed(kind, *ends)
    raise ValueError(f"optim.schedule={kind!r} is not one of triangle, exp_range, cosine, constant")


def scale_by_adam(
    b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015) with bias corrections that are exact in float32.

    `optax.scale_by_adam` forms 1 - b2**t in float32, which is off by 1e-5 in the first steps; over
    20 steps that moved losses 2e-4 away from PyTorch's. The state is Optax's own.
    """

    def update(gradients, state: optax.ScaleByAdamState, params=None):
        del params
        count = optax.safe_increment(state.count)
        first, second = (-jnp.expm1(count * math.log(decay)) for decay in (b1, b2))
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, state.nu, gradients)
        direction = jax.tree.map(
            lambda m, v: (m / first) / (jnp.sqrt(v / second) + epsilon), mu, nu
        )
        return direction, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def make_optimizer(
    name: str, *, weight_decay: float, momentum: float, clip_norm: float = 0.0
) -> optax.GradientTransformation:
    """The direction of a step; the caller multiplies it by minus the learning rate.

    As in PyTorch, `adam` and `sgd` add weight decay to the gradient, `adamw` to the step. If
    `clip_norm` is positive, gradients of a larger norm, over all parameters, are first scaled down
    to it.

    Raises:
        ValueError: unknown name, or a negative norm.
    """
    if clip_norm < 0:
        raise ValueError(f"optim.clip_norm={clip_norm} must not be negative; 0 clips nothing")
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    decay = [optax.add_decayed_weights(weight_decay)] if weight_decay else []
    if name == "adam":
        return optax.chain(*clip, *decay, scale_by_adam())
    if name == "adamw":
        return optax.chain(*clip, scale_by_adam(), *decay)
    if name == "sgd":
        return optax.chain(*clip, *decay, optax.trace(momentum))
    raise ValueError(f"optim.name={name!r} is not one of adam, adamw, sgd")


def configured(settings: Mapping[str, Any]) -> optax.GradientTransformation:
    """The optimiser of the `optim` part of a configuration."""
    names = ("weight_decay", "momentum", "clip_norm")
    return make_optimizer(settings["name"], **{name: settings[name] for name in names})
