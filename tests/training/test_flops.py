"""Counting operations in a traced function."""

import jax
import jax.numpy as jnp
import pytest

from seismollm_jax.training.flops import count


def traced(function, *shapes: tuple[int, ...]):
    return jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes))


def convolve(x, kernel, *, stride: int = 1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
    )


def test_products() -> None:
    assert count(traced(jnp.matmul, (3, 4), (4, 5))) == 2 * 3 * 4 * 5
    einsum = traced(lambda q, k: jnp.einsum("bqhd,bkhd->bhqk", q, k), (2, 7, 3, 5), (2, 9, 3, 5))
    assert count(einsum) == 2 * 2 * 3 * 7 * 9 * 5
    assert count(traced(lambda x: jnp.tanh(x) + x, (100,))) == 0


def test_convolutions() -> None:
    assert count(traced(convolve, (2, 20, 3), (5, 3, 7))) == 2 * (2 * 16 * 7) * (5 * 3)
    strided = traced(lambda x, k: convolve(x, k, stride=4), (2, 20, 3), (4, 3, 7))
    assert count(strided) == 2 * (2 * 5 * 7) * (4 * 3)


def test_a_gradient_costs_twice_the_function() -> None:
    # Of both arguments; the strided one has zeros between its samples, which cost nothing.
    for stride in (1, 4):
        forward = count(
            traced(lambda x, k, s=stride: convolve(x, k, stride=s), (2, 20, 3), (4, 3, 7))
        )
        both = traced(
            jax.grad(lambda x, k, s=stride: (convolve(x, k, stride=s) ** 2).sum(), (0, 1)),
            *((2, 20, 3), (4, 3, 7)),
        )
        # The gradient towards the input computes its edges with zeros around them.
        assert 3 * forward <= count(both) <= 3.4 * forward, stride


def test_inside_of_other_functions() -> None:
    def repeated(x):
        return jax.lax.scan(lambda c, _: (jax.jit(jnp.matmul)(c, c), None), x, length=6)[0]

    assert count(traced(repeated, (4, 4))) == 6 * 2 * 4**3
    assert count(traced(jax.checkpoint(repeated), (4, 4))) == 6 * 2 * 4**3


def test_loops_of_unknown_length() -> None:
    def until(x):
        return jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c @ c, x)

    with pytest.raises(ValueError, match="loop of unknown length"):
        count(traced(until, (4, 4)))


def test_alternatives_for_platforms() -> None:
    def either(x):
        return jax.lax.platform_dependent(
            x, tpu=lambda x: x @ x, cuda=lambda x: x @ x @ x, default=lambda x: 2 * x
        )

    product = 2 * 4**3
    found = [count(traced(either, (4, 4)), name) for name in (None, "cpu", "tpu", "cuda")]
    assert found == [0, 0, product, 2 * product]
