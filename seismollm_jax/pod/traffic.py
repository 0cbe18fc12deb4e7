"""What a compiled program for TPUs says of its memory traffic and its time, read from its text."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from seismollm_jax.pod.computations import Computation, used

# name = type operation(operands), ...
_INSTRUCTION = re.compile(
    r"^\s+(?P<root>ROOT )?%?(?P<name>[\w.-]+) = (?P<type>\(.*?\)|\S+) (?P<operation>[a-z][a-z-]*)"
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
# Calls to the compiler's own that set memory aside, or name neighbours as one.
_NAMED = re.compile(r'custom_call_target="(?:AllocateBuffer|ConcatBitcast)"')
_CALLED = re.compile(r"\bcalls=%?([\w.-]+)")
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


class _Instruction(NamedTuple):
    type: str
    operation: str
    operands: tuple[str, ...]  # names; of a parameter its number
    line: str
    root: bool


_Instructions = Mapping[str, _Instruction]  # of one computation, by name
_Fused = Mapping[str, _Instructions]  # by name of the computation


def hbm_bytes(text: str) -> int:
    """Bytes of the arrays in main memory that the instructions of a program read or write.

    Where an instruction cuts slices out of an array, or replaces a slice of it in place, these
    slices; otherwise whole arrays. What stays in the chip's own memory is left out; the compiler's
    own count (`bytes accessed`) has it. Loops count as often as they turn.

    Raises:
        ValueError: an array type of unknown size; a loop of unknown length.
    """
    parts = used(text)
    fused = {part.name: _instructions(part.lines) for part in parts if not part.scheduled}
    return sum(part.times * _hbm_bytes(part, fused) for part in parts if part.scheduled)


def _instructions(lines: tuple[str, ...]) -> dict[str, _Instruction]:
    found = {}
    for line in lines:
        if match := _INSTRUCTION.match(line):
            operands = match["operands"]
            names = re.findall(r"%([\w.-]+)", operands) or [operands.strip()]
            found[match["name"]] = _Instruction(
                match["type"], match["operation"], tuple(names), line, bool(match["root"])
            )
    return found


def _hbm_bytes(part: Computation, fused: _Fused) -> int:
    total = 0
    instructions = _instructions(part.lines)
    in_hbm: dict[str, int] = {}
    for name, one in instructions.items():
        arrays = list(arrays_of(one.type))
        sizes = [size if there else 0 for size, there in arrays]
        in_hbm[name] = sum(sizes)
        if one.operation in _MOVE_NOTHING or one.operation.endswith("-done"):
            continue
        if _NAMED.search(one.line):
            continue
        if one.operation == "slice-start":  # its type is (array, slice, context)
            total += min(sizes[0], arrays[1][0]) + sizes[1]
            continue
        passed = _PASSED_ON.findall(one.line) if _BESIDE.search(one.line) else ()
        outputs, inputs = {int(n or 0) for n, _ in passed}, {int(n) for _, n in passed}
        for n, (size, slice_) in enumerate(
            zip(sizes, _written(one, instructions, fused), strict=True)
        ):
            if n not in outputs:
                total += size if slice_ is None else min(size, slice_)
        if one.operation.endswith("-start"):  # those have their operands in their type
            continue
        for n, operand in enumerate(one.operands):
            if n not in inputs:
                size, slices = in_hbm.get(operand, 0), _read(one, n, instructions, fused)
                total += size if slices is None else min(size, slices)
    return total


def _size(type_: str) -> int:
    return sum(size for size, _ in arrays_of(type_))


def _written(one: _Instruction, beside: _Instructions, fused: _Fused) -> list[int | None]:
    """Of each array of its result the bytes that an instruction replaces; None for the whole."""
    first = beside.get(one.operands[0])
    if one.operation == "bitcast" and first:
        return _written(first, beside, fused)
    if one.operation == "dynamic-update-slice" and one.operands[1] in beside:
        # In place, unless it is in a fusion that makes the rest of the array as well.
        in_fusion = any(beside is each for each in fused.values())
        made = in_fusion and _source(one.operands[0], beside) != "parameter"
        return [None if made else _size(beside[one.operands[1]].type)]
    inside = _inside(one, fused)
    root = next((each for each in inside.values() if each.root), None)
    if root and root.operation == "tuple":
        results = [inside[name] for name in root.operands if name in inside]
    else:
        results = [root] if root else []
    found = [n for each in results for n in _written(each, inside, fused)]
    arrays = sum(1 for _ in arrays_of(one.type))
    return found if len(found) == arrays else [None] * arrays


def _source(name: str, beside: _Instructions) -> str:
    """The operation that makes an array, seen through other names for it; empty if unknown."""
    while name in beside and beside[name].operation == "bitcast":
        name = beside[name].operands[0]
    return beside[name].operation if name in beside else ""


def _read(one: _Instruction, n: int, beside: _Instructions, fused: _Fused) -> int | None:
    """Bytes that an instruction takes of its operand n; None for the whole."""
    if one.operation in ("slice", "dynamic-slice") and n == 0:
        return _size(one.type)
    if one.operation == "dynamic-update-slice" and n == 0:
        return 0
    if one.operation == "bitcast":
        (name,) = (name for name, each in beside.items() if each is one)
        return _taken(name, beside, fused)
    inside = _inside(one, fused)
    for name, each in inside.items():
        if each.operation == "parameter" and each.operands == (str(n),):
            return _taken(name, inside, fused)
    return None


def _taken(name: str, beside: _Instructions, fused: _Fused) -> int | None:
    """Bytes of an array that all that use it take together; None for the whole."""
    total = 0
    if beside[name].root:
        return None
    for one in beside.values():
        for n, operand in enumerate(one.operands):
            if operand == name and one.operation != "parameter":
                taken = _read(one, n, beside, fused)
                if taken is None:
                    return None
                total += taken
    return total


def _inside(one: _Instruction, fused: _Fused) -> _Instructions:
    called = _CALLED.search(one.line)
    return fused.get(called[1], {}) if called else {}


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
