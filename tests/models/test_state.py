"""Modules as flat dictionaries, and the rules that read PyTorch's arrays into them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from seismollm_jax import models
from seismollm_jax.models.layers import BatchNorm
from seismollm_jax.models.state import batch_stats, key, merge, path, split
from seismollm_jax.models.weights import (
    LAYOUTS,
    Rule,
    WeightsError,
    batch_norm,
    convolution,
    mismatches,
    read,
)


class Small(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.layers = nnx.List(nnx.Linear(3, 3, rngs=rngs) for _ in range(11))
        self.norm = BatchNorm(3, dtype=jnp.float32)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        for layer in self.layers:
            x = layer(x)
        return self.norm(x, train=train)


def test_split_and_merge() -> None:
    module = Small()
    parts = split(module, lambda where: where[0] == "norm")
    assert set(parts.params) == {"norm/scale", "norm/bias"}
    assert set(parts.stats) == {"norm/mean", "norm/var"}
    assert len(parts.frozen) == 22
    assert "layers/10/kernel" in parts.frozen
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)), jnp.float32)
    again = merge(parts.graphdef, parts.stats, parts.params, parts.frozen)
    np.testing.assert_array_equal(again(x), module(x))


def test_layers_beyond_ten_keep_their_order() -> None:
    """As text, "10" comes before "2"."""
    module = Small()
    parts = split(module, bool)
    changed = {**parts.params, "layers/2/bias": jnp.full(3, 7.0)}
    again = merge(parts.graphdef, changed, parts.stats)
    np.testing.assert_array_equal(again.layers[2].bias[...], [7, 7, 7])
    np.testing.assert_array_equal(again.layers[10].kernel[...], module.layers[10].kernel[...])


def test_a_merged_module_does_not_write_back() -> None:
    parts = split(Small(), bool)
    before = {name: np.array(value) for name, value in parts.stats.items()}
    module = merge(parts.graphdef, parts.params, parts.stats)
    module(jnp.ones((2, 5, 3)), train=True)
    after = batch_stats(module)
    for name, value in before.items():
        np.testing.assert_array_equal(parts.stats[name], value)
        assert not np.array_equal(after[name], value)


def test_state_of_another_kind_is_an_error() -> None:
    class Counting(nnx.Module):
        def __init__(self) -> None:
            self.count = nnx.Cache(jnp.zeros(()))

    with pytest.raises(ValueError, match=r"(?i)non-exhaustive"):
        split(Counting(), bool)


parts = st.one_of(st.integers(0, 99), st.from_regex(r"[a-z_]+", fullmatch=True))


@given(st.lists(parts, min_size=1, max_size=6).map(tuple))
def test_keys_and_paths_are_the_same_thing(where: tuple) -> None:
    assert path(key(where)) == where


def test_unknown_family() -> None:
    with pytest.raises(ValueError, match=r"model 'x' is not one of \['seismollm', 'seist_l'"):
        models.get("x")


# -- rules -----------------------------------------------------------------------------------

RULES = [
    *convolution(("conv",), "c", bias=True),
    *batch_norm(("norm",), "n"),
]
SHAPES = {
    ("conv", "kernel"): (5, 2, 3),  # (kernel, inputs, outputs)
    ("conv", "bias"): (3,),
    **{("norm", name): (3,) for name in ("scale", "bias", "mean", "var")},
}


def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    found = {"c.weight": draw.normal(size=(3, 2, 5)), "c.bias": draw.normal(size=3)}
    names = ("weight", "bias", "running_mean", "running_var")
    found |= {f"n.{name}": draw.normal(size=3) for name in names}
    return found | {"n.num_batches_tracked": np.array(3)}


def test_every_array_finds_its_place() -> None:
    given_arrays = arrays()
    found = read(RULES, given_arrays, SHAPES, source="file")
    assert found.keys() == SHAPES.keys()
    np.testing.assert_array_equal(
        found["conv", "kernel"][4, 1, 2], given_arrays["c.weight"][2, 1, 4]
    )
    np.testing.assert_array_equal(found["norm", "var"], given_arrays["n.running_var"])
    np.testing.assert_array_equal(found["norm", "scale"], given_arrays["n.weight"])


def test_all_problems_at_once() -> None:
    broken = arrays()
    del broken["n.bias"]
    broken["c.weight"] = broken["c.weight"][:, :, :4]
    broken["more"] = np.zeros(1)
    with pytest.raises(WeightsError) as raised:
        read(RULES, broken, SHAPES, source="file.pt")
    text = str(raised.value)
    assert text.startswith("file.pt does not fit this model (3 problems):")
    assert "missing: n.bias" in text
    assert "unexpected: more" in text
    assert "shape of c.weight: (3, 2, 4), expected (3, 2, 5)" in text


def test_names_that_are_alike_are_shown() -> None:
    renamed = {key.replace("n.bias", "n.biases"): value for key, value in arrays().items()}
    with pytest.raises(WeightsError) as raised:
        read(RULES, renamed, SHAPES, source="file")
    assert raised.value.problems == [
        "missing: n.bias (like n.biases)",
        "unexpected: n.biases (like n.bias)",
    ]


def test_targets_are_filled_exactly_once() -> None:
    twice = [*RULES, Rule(("norm", "var"), "other")]
    shapes = SHAPES | {("more",): (3,)}
    found = {key: value.shape for key, value in (arrays() | {"other": np.zeros(2)}).items()}
    problems = mismatches(twice, found, shapes)
    assert "filled 2 times: ('norm', 'var')" in problems
    assert "left empty: ('more',)" in problems


def test_leftovers_can_be_allowed() -> None:
    extra = arrays() | {"h.0.mask": np.ones((1, 1, 4, 4))}
    found = read(RULES, extra, SHAPES, source="f", ignore=lambda k: k.endswith("mask"))
    assert len(found) == len(SHAPES)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 5)])
def test_layouts_are_their_own_inverse(name: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_array_equal(LAYOUTS[name](LAYOUTS[name](x)), x)
    assert Rule(("a",), "a").layout in LAYOUTS
