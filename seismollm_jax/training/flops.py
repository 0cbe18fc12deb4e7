"""Multiplications and additions of a traced function, counted by hand.

The compiler has a count of its own, which depends on how it rewrites convolutions.
"""

import math
from typing import Any


def count(jaxpr: Any) -> float:
    """Floating-point operations in the matrix products and convolutions of a (closed) jaxpr.

    A multiplication and an addition are two. Products with the zeros that a strided convolution's
    gradient has between its samples are left out; with the zeros of a padding they are counted.
    Everything else, element by element, is not counted.
    """
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _dot(equation)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        elif name == "cond":
            total += max(count(branch) for branch in parameters["branches"])
        elif name == "while":
            if inside := count(parameters["body_jaxpr"]):
                raise ValueError(f"a loop of unknown length does {inside} operations in each turn")
        else:
            times = parameters["length"] if name == "scan" else 1
            total += times * sum(count(inner) for inner in _inner(parameters))
    return total


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
