"""What a compiled program for TPUs says of its memory traffic and its time, read from its text."""

import math
import re
from collections.abc import Iterator

from seismollm_jax.pod.computations import Computation, used

# name = type operation(operands), ...
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<type>\(.*?\)|\S+) (?P<operation>[a-z][a-z-]*)"
    r"\((?P<operands>[^)]*)\)"
)
# dtype[sizes]{minor to major:tiles and memory space}
_ARRAY = re.compile(r"(?P<dtype>[a-z]+\d*\w*)\[(?P<sizes>[\d,]*)\](?:\{(?P<layout>[^}]*)\})?")
_TILE = re.compile(r"T\(([\d,]+)\)")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# They name, group or await arrays that others move.
_MOVE_NOTHING = {
    *("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "partition-id"),
    *("replica-id", "after-all", "opt-barrier", "while", "call", "conditional"),
}
# A collective that goes on beside other work is a part of all the fusions that do this work, which
# pass its arrays on: {output}: (operand, ...), ...
_BESIDE = re.compile(r"^\s+%?async-collective-|calls=%?async_collective_fusion")
_PASSED_ON = re.compile(r"\{(\d*)\}: \((\d+), ")


def array_bytes(array: str) -> tuple[int, bool]:
    """Bytes that `f32[64,750,96]{1,2,0:T(8,128)}` takes, and whether in the main memory (HBM).

    The last axes of a layout are filled up to whole tiles. A memory space, S(n), is one of the
    chip's own.

    Raises:
        ValueError: no such array, or a type of unknown size.
    """
    match = _ARRAY.fullmatch(array)
    if not match:
        raise ValueError(f"{array!r} is no type of an array")
    return _bytes(match)


def arrays_of(type_: str) -> Iterator[tuple[int, bool]]:
    """Of an array or a tuple: bytes, and whether in the main memory, of each array."""
    for match in _ARRAY.finditer(type_):
        yield _bytes(match)


def hbm_bytes(text: str) -> int:
    """Bytes of the arrays in main memory that the instructions of a program read or write.

    Whole arrays, also where an instruction takes a part. What stays in the chip's own memory is
    left out; the compiler's own count (`bytes accessed`) has it. Loops count as often as they turn.

    Raises:
        ValueError: an array type of unknown size; a loop of unknown length.
    """
    return sum(part.times * _hbm_bytes(part) for part in used(text) if part.scheduled)


def _hbm_bytes(part: Computation) -> int:
    total = 0
    types: dict[str, int] = {}
    for line in part.lines:
        match = _INSTRUCTION.match(line)
        if not match:
            continue
        sizes = [size if in_hbm else 0 for size, in_hbm in arrays_of(match["type"])]
        operation = match["operation"]
        types[match["name"]] = sum(sizes)
        if operation in _MOVE_NOTHING or operation.endswith("-done"):
            continue
        passed = _PASSED_ON.findall(line) if _BESIDE.search(line) else ()
        outputs, inputs = {int(n or 0) for n, _ in passed}, {int(n) for _, n in passed}
        total += sum(size for n, size in enumerate(sizes) if n not in outputs)
        if not operation.endswith("-start"):  # those have their operands in their type
            names = re.findall(r"%([\w.-]+)", match["operands"])
            total += sum(types.get(name, 0) for n, name in enumerate(names) if n not in inputs)
    return total


def estimated_cycles(text: str) -> int:
    """The compiler's own estimate of a program's length, without waiting for other chips.

    It is noted at most instructions; 0 if at none, as in programs for other devices.

    Raises:
        ValueError: a loop of unknown length.
    """
    return sum(
        part.times * int(cycles)
        for part in used(text)
        if part.scheduled
        for line in part.lines
        for cycles in _CYCLES.findall(line)
    )


def _bytes(match: re.Match[str]) -> tuple[int, bool]:
    sizes = [int(n) for n in match["sizes"].split(",") if n]
    order, _, rest = (match["layout"] or "").partition(":")
    if tile := _TILE.search(rest):
        # Tiles cover the axes that vary fastest.
        steps = [int(n) for n in tile[1].split(",")]
        fastest = [int(n) for n in order.split(",") if n]
        for axis, step in zip(fastest, reversed(steps), strict=False):
            sizes[axis] = -(-sizes[axis] // step) * step
    return math.prod(sizes) * bits_of(match["dtype"]) // 8, "S(" not in rest


def bits_of(dtype: str) -> int:
    """Of one element: 16 for bf16.

    Raises:
        ValueError: a type of unknown size.
    """
    if dtype == "pred":
        return 8
    if dtype == "token":
        return 0
    bits = re.search(r"\d+", dtype)
    if not bits:
        raise ValueError(f"the size of the type {dtype} is not known")
    return int(bits[0])
