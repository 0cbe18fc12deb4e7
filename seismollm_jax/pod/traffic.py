"""What a compiled program for TPUs says of its memory traffic and its time, read from its text."""

import math
import re
from collections.abc import Iterator

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
    *("replica-id", "after-all", "opt-barrier"),
}


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
    left out; the compiler's own count (`bytes accessed`) has it.
    """
    total = 0
    types: dict[str, int] = {}
    for line in _entry(text):
        match = _INSTRUCTION.match(line)
        if not match:
            continue
        own = sum(size for size, in_hbm in arrays_of(match["type"]) if in_hbm)
        operation = match["operation"]
        types[match["name"]] = own
        if operation in _MOVE_NOTHING or operation.endswith("-done"):
            continue
        total += own
        if not operation.endswith("-start"):  # those have their operands in their type
            operands = (name.strip().lstrip("%") for name in match["operands"].split(","))
            total += sum(types.get(name.split(" ")[-1].lstrip("%"), 0) for name in operands)
    return total


def estimated_cycles(text: str) -> int:
    """The compiler's own estimate of a program's length, without waiting for other chips.

    It is noted at most instructions; 0 if at none, as in programs for other devices.
    """
    return sum(int(n) for line in _entry(text) for n in _CYCLES.findall(line))


def _entry(text: str) -> Iterator[str]:
    """Lines of the entry computation: the schedule. Fusions call the others."""
    inside = False
    for line in text.splitlines():
        if line.startswith("ENTRY "):
            inside = True
        elif inside:
            if line.startswith("}"):
                return
            yield line


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
