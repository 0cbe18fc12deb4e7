"""Learning-rate cycle and optimisers against PyTorch's definitions."""

import jax.numpy as jnp
import numpy as np
import pytest

from seismollm_jax.training.optim import Triangle, make_optimizer, make_schedule
from tests import golden_files

GOLDEN = golden_files.load("schedule.npz")


@pytest.mark.parametrize("name", sorted({key.split("/")[0] for key in GOLDEN}))
def test_schedule_golden(name: str) -> None:
    base, maximum, up, down = GOLDEN[f"{name}/cycle"].tolist()
    rate = Triangle(base, maximum, int(up), int(down))
    found = [rate(int(step)) for step in GOLDEN[f"{name}/step"]]
    np.testing.assert_allclose(found, GOLDEN[f"{name}/rate"], rtol=0, atol=1e-12)


def test_corners_of_the_cycle() -> None:
    rate = Triangle(1e-4, 5e-4, up=4, down=8)
    assert rate(0) == pytest.approx(1e-4, abs=1e-15)
    assert rate(2) == pytest.approx(3e-4, abs=1e-15)
    assert rate(4) == pytest.approx(5e-4, abs=1e-15)
    assert rate(8) == pytest.approx(3e-4, abs=1e-15)
    assert rate(12 * 10**6 + 4) == pytest.approx(5e-4, abs=1e-12)


@pytest.mark.parametrize(("up", "down"), [(0, 5), (5, 0), (-1, 5)])
def test_cycle_without_length(up: int, down: int) -> None:
    with pytest.raises(ValueError, match=r"optim\.up_steps and optim\.down_steps"):
        Triangle(1e-4, 1e-3, up, down)


def by_hand(name: str, gradients: np.ndarray, *, decay: float, momentum: float) -> np.ndarray:
    """Parameter after PyTorch's updates, in float64, from 1.0 with a rate of 0.1."""
    p, m, v, rate = 1.0, 0.0, 0.0, 0.1
    for t, g in enumerate(gradients, start=1):
        if name == "adamw":
            p -= rate * decay * p
        else:
            g = g + decay * p
        if name == "sgd":
            m = momentum * m + g
            p -= rate * m
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            p -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_updates_are_pytorchs(name: str, decay: float) -> None:
    gradients = np.random.default_rng(0).standard_normal(12)
    optimizer = make_optimizer(name, weight_decay=decay, momentum=0.9)
    p = jnp.float32(1.0)
    state = optimizer.init(p)
    for g in gradients:
        direction, state = optimizer.update(jnp.float32(g), state, p)
        p = p - 0.1 * direction
    expected = by_hand(name, gradients, decay=decay, momentum=0.9)
    assert float(p) == pytest.approx(expected, rel=3e-6)


def test_unknown_optimizer() -> None:
    with pytest.raises(ValueError, match=r"optim\.name='lion' is not one of adam, adamw, sgd"):
        make_optimizer("lion", weight_decay=0, momentum=0)


SCHEDULE = {"base_lr": 1e-4, "max_lr": 5e-4, "up_steps": 4, "down_steps": 8}


def test_cosine_and_constant() -> None:
    cosine = make_schedule({**SCHEDULE, "schedule": "cosine"}, 99)
    rates = [cosine(step) for step in (0, 2, 4, 6, 8, 12, 1000)]
    half = 1e-4 + 4e-4 * (0.5 + 0.5 * np.cos(np.pi / 4))
    np.testing.assert_allclose(rates, [1e-4, 3e-4, 5e-4, half, 3e-4, 1e-4, 1e-4], rtol=1e-12)
    constant = make_schedule({**SCHEDULE, "schedule": "constant"}, 99)
    assert [constant(step) for step in (0, 4, 10**6)] == [1e-4, 5e-4, 5e-4]
    at_once = make_schedule({**SCHEDULE, "schedule": "constant", "up_steps": 0}, 99)
    assert at_once(0) == 5e-4
    assert make_schedule({**SCHEDULE, "schedule": "triangle"}, 99) == Triangle(1e-4, 5e-4, 4, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "step"}, r"optim\.schedule='step' is not one of triangle, exp_range"),
        ({"schedule": "exp_range", "base_lr": 0.0}, r"optim\.base_lr=0\.0 with .*must lie between"),
        ({"schedule": "cosine", "down_steps": 0}, r"optim\.down_steps 0; they must be at least"),
        ({"schedule": "constant", "up_steps": -1}, r"optim\.up_steps is -1"),
    ],
)
def test_schedules_that_are_none(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_schedule({**SCHEDULE, **changes}, 99)


def test_cycles_that_shrink() -> None:
    """Rates of PyTorch's CyclicLR in the mode exp_range, with the values SeisT was trained with."""
    settings = {"base_lr": 8e-5, "max_lr": 1e-3, "up_steps": 2000, "down_steps": 3000}
    rate = make_schedule({**settings, "schedule": "exp_range"}, 12_000)
    recorded = {
        0: 8e-5,
        1: 8.045981922708788e-05,
        2000: 4.991588687566879e-04,
        2001: 4.988544810646346e-04,
        7000: 1.3872942383505452e-04,
        11_999: 8.8227849210e-05,
    }
    for step, expected in recorded.items():
        assert rate(step) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("norm", "scale"), [(0.0, 1.0), (10.0, 1.0), (2.5, 0.5)])
def test_long_gradients_are_clipped_together(norm: float, scale: float) -> None:
    """The norm is that over all parameters, so the direction stays."""
    gradients = {"a": jnp.float32([3.0, 0.0]), "b": jnp.float32([[4.0]])}  # norm 5
    optimizer = make_optimizer("sgd", weight_decay=0, momentum=0, clip_norm=norm)
    found, _ = optimizer.update(gradients, optimizer.init(gradients), gradients)
    np.testing.assert_allclose(found["a"], [3 * scale, 0], rtol=1e-6)
    np.testing.assert_allclose(found["b"], [[4 * scale]], rtol=1e-6)


def test_negative_norm() -> None:
    with pytest.raises(ValueError, match=r"optim\.clip_norm=-1 must not be negative"):
        make_optimizer("sgd", weight_decay=0, momentum=0, clip_norm=-1)
