"""Multiplications and additions of a traced function, counted by hand.

The compiler has a count of its own, which depends on how it rewrites convolutions.
"""

import math
from typing import Any


def count(jaxpr: Any, platform: str | None = None) -> float:
    """Floating-point operations in the matrix products and convolutions of a (closed) jaxpr.

    A multiplication and an addition are two. Products with the zeros that a strided convolution's
    gradient has between its samples are left out; with the zeros of a padding they are counted.
    Everything else, element by element, is not counted.

    Args:
        jaxpr: of the function.
        platform: "cpu", "cuda" or "tpu": of alternatives that depend on it, the one for this
            platform counts. By default the one for all platforms without one of their own, so
            that the figure belongs to the network and not to a machine.
    """
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _dot(equation)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        elif name == "cond":
            total += max(count(branch, platform) for branch in _branches(parameters, platform))
        elif name == "while":
            if inside := count(parameters["body_jaxpr"], platform):
                raise ValueError(f"a loop of unknown length does {inside} operations in each turn")
        else:
            times = parameters["length"] if name == "scan" else 1
            total += times * sum(count(inner, platform) for inner in _inner(parameters))
    return total


def _branches(parameters: dict[str, Any], platform: str | None) -> list[Any]:
    """Of a `cond` those that may run: all, or one of `jax.lax.platform_dependent`."""
    branches, platforms = parameters["branches"], parameters.get("branches_platforms")
    if platforms is None:
        return list(branches)
    own = [platform in (names or ()) for names in platforms]
    default = [names is None for names in platforms]
    return [branches[(own if any(own) else default).index(True)]]


def _inner(parameters: dict[str, Any]) -> list[Any]:
    return [
        value for value in parameters.values() if hasattr(getattr(value, "jaxpr", value), "eqns")
    ]


def _dot(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)


def _convolution(equation: Any) -> float:
    parameters = equation.params
    kernel = equation.invars[1].aval.shape
    outputs_axis = parameters["dimension_numbers"].rhs_spec[0]
    # Products for each element of the output: positions of the kernel times inputs of a group.
    products = math.prod(kernel) / kernel[outputs_axis]
    products /= math.prod(parameters["lhs_dilation"])
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * products
